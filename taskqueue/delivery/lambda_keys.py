"""The AWS keys that invocations are signed with: found as Amazon's own tools find them, off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

EXTRA = "lambda:// targets need the lambda extra; run: pip install 'taskqueue-http[lambda]'"
NO_REGION = "lambda:// targets need a region: set TASKQUEUE_LAMBDA_REGION or AWS_REGION"
NO_KEYS = (
    "no AWS credentials were found; give the worker's environment AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
    " or AWS_PROFILE, or give its machine a role"
)


class NotConfigured(Exception):
    """Functions cannot be invoked as this process is set up; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What botocore's signer asks of credentials. Nothing secret is shown."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def aws_keys() -> Callable[[], Keys]:
    """A look-up in the environment, the profiles, the container and the machine; it may block for seconds.

    Calling it again renews keys that are about to expire. Raises ``NotConfigured``.
    """
    credentials: Any = None

    def find() -> Keys:
        nonlocal credentials
        try:
            import botocore.auth  # not needed here, but later, on an event loop that should not wait for it
            import botocore.exceptions
            import botocore.session
        except ModuleNotFoundError:
            raise NotConfigured(EXTRA) from None
        try:
            credentials = credentials or botocore.session.Session().get_credentials()
            if credentials is None:
                raise NotConfigured(NO_KEYS)
            frozen = credentials.get_frozen_credentials()
        except botocore.exceptions.BotoCoreError as error:
            # Its text may name files and addresses of this machine, and goes no further than the log.
            raise NotConfigured(f"the AWS credentials could not be had ({type(error).__name__}); {NO_KEYS}") from error
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    return find


class KeyRing:
    """Keys at hand: looked up once at a time however many ask, in a thread. Belongs to one event loop."""

    def __init__(
        self,
        find: Callable[[], Keys],
        *,
        fresh_for: timedelta = timedelta(minutes=1),  # temporary keys are renewed ten minutes before they expire
        failed_for: timedelta = timedelta(seconds=5),
    ) -> None:
        self._find = find
        self._fresh_for, self._failed_for = fresh_for.total_seconds(), failed_for.total_seconds()
        self._answer: Keys | Exception | None = None
        self._until = 0.0
        self._asking: asyncio.Future[Keys | Exception] | None = None

    async def keys(self) -> Keys:
        """The keys as they are now; ``NotConfigured``, or whatever else the look-up raised."""
        loop = asyncio.get_running_loop()
        answer = self._answer
        if answer is None or loop.time() >= self._until:
            if self._asking is None:
                self._asking = loop.create_future()
                threading.Thread(target=self._look, args=(self._asking,), name="aws-keys", daemon=True).start()
            answer = await asyncio.shield(self._asking)
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)  # shared with whoever else asked
        return answer

    def _look(self, asking: asyncio.Future[Keys | Exception]) -> None:
        answer: Keys | Exception
        try:
            answer = self._find()
        except Exception as error:
            answer = error
        try:
            asking.get_loop().call_soon_threadsafe(self._tell, asking, answer)
        except RuntimeError:
            return  # the event loop has ended, and with it everybody who asked

    def _tell(self, asking: asyncio.Future[Keys | Exception], answer: Keys | Exception) -> None:
        failed = isinstance(answer, Exception)
        self._answer, self._asking = answer, None
        self._until = asking.get_loop().time() + (self._failed_for if failed else self._fresh_for)
        asking.set_result(answer)
