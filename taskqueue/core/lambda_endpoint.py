"""Where functions are invoked: a region, and the address that the operator trusts for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from taskqueue.core.errors import InvalidTarget
from taskqueue.core.lambda_function import LambdaFunction
from taskqueue.core.target import AllowedTargets, Target, parse_target

_REGION = re.compile(r"[a-z](?:-?[a-z0-9]){1,39}")


def is_region(text: str) -> bool:
    """Whether ``text`` can be the name of a region, such as eu-west-1."""
    return _REGION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class LambdaEndpoint:
    """The Lambda service of one region."""

    region: str
    base: Target

    @classmethod
    def parse(cls, region: str, url: str | None = None) -> LambdaEndpoint:
        """The endpoint at ``url``, or Amazon's own for ``region``; ``ValueError`` says what is wrong with ``url``."""
        try:
            base = parse_target(url or _amazons(region))
        except InvalidTarget as error:
            raise ValueError(error.detail) from None
        if base.path != "/":
            raise ValueError("name scheme, host and port alone, such as https://lambda.eu-west-1.amazonaws.com")
        return cls(region, base)

    @property
    def allowed(self) -> AllowedTargets:
        """This host and port, whatever its address: the operator named it."""
        host = f"[{self.base.host}]" if ":" in self.base.host else self.base.host
        return AllowedTargets.parse(f"{host}:{self.base.port}")

    def elsewhere(self, function: LambdaFunction) -> str | None:
        """Why ``function`` cannot be invoked here, if its ARN names another region."""
        if function.region in (None, self.region):
            return None
        return (
            f"the function is in {function.region}, but this service invokes in {self.region}: TASKQUEUE_LAMBDA_REGION"
        )

    def target(self, function: LambdaFunction) -> Target:
        """Where ``function`` is invoked."""
        url = self.base.origin + function.path
        return replace(self.base, url=url, path=function.path, lambda_function=function)


def _amazons(region: str) -> str:
    return f"https://lambda.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
