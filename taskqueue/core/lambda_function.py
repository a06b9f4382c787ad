"""Which function a lambda:// URL names, how it is to be called, and what may be sent along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from taskqueue.core.errors import InvalidTask

PREFIX = "lambda://"
EVENT_CAVEAT = (
    "invocation=event: success means that Lambda has put the event into its own queue, not that the function has run;"
    " Lambda then retries twice by itself, and how it ends is not known here"
)
# Headers of the caller that Invoke understands, and the one that names the work; the function sees no others.
OWN_HEADERS = frozenset({"idempotency-key", "x-amz-client-context", "x-amz-log-type", "x-amzn-trace-id"})

_REFERENCE = re.compile(
    r"(?P<function>(?:(?:arn:aws(?:-[a-z]+)*:lambda:(?P<region>[a-z0-9-]{2,40}):)?[0-9]{12}:function:)?"
    r"(?P<name>[A-Za-z0-9_-]{1,64}))"
    r"(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?"
)


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """A function as it was named, and the way to invoke it."""

    function: str  # name, account:function:name or ARN, as Invoke takes it
    name: str
    qualifier: str | None = None  # alias, version or $LATEST
    region: str | None = None  # of an ARN
    event: bool = False  # hand the event over and do not wait for the function

    @classmethod
    def parse(cls, reference: str, query: str) -> LambdaFunction:
        """Read what stands behind ``lambda://``; ``ValueError`` says what to write instead."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ValueError(
                "write lambda://name, lambda://name:alias, or an ARN of the function behind lambda://;"
                " a name has at most 64 letters, digits, - and _"
            )
        if query not in ("", "?invocation=event"):
            raise ValueError("behind the function only ?invocation=event may stand; it has no path and no other option")
        return cls(match["function"], match["name"], match["qualifier"], match["region"], event=bool(query))

    @property
    def url(self) -> str:
        qualifier = f":{self.qualifier}" if self.qualifier else ""
        return f"{PREFIX}{self.function}{qualifier}{'?invocation=event' if self.event else ''}"

    @property
    def origin(self) -> str:
        """All versions of a function share its concurrency, so they are one place."""
        return f"{PREFIX}{self.function}"

    @property
    def path(self) -> str:
        """Of the Invoke call, with its query."""
        qualifier = f"?Qualifier={quote(self.qualifier, safe='')}" if self.qualifier else ""
        return f"/2015-03-31/functions/{quote(self.function, safe='')}/invocations{qualifier}"


def is_event(url: str) -> bool:
    """Whether a target hands its events over to Lambda, and does not wait for the function."""
    return url.startswith(PREFIX) and url.endswith("?invocation=event")


def check_invocation(*, method: str, headers: Iterable[tuple[str, str]], body: bytes | None) -> None:
    """Raise ``InvalidTask``, its pointer relative to the task, for what Lambda's Invoke could not carry."""
    if method != "POST":
        raise InvalidTask("/method", "a function is invoked with POST; leave the method out")
    for name, _ in headers:
        if name.lower() not in OWN_HEADERS:
            raise InvalidTask(
                f"/headers/{name.replace('~', '~0')}",
                "Lambda passes no such header on to a function; put what it needs into the payload"
                " (Idempotency-Key, X-Amz-Client-Context, X-Amz-Log-Type and X-Amzn-Trace-Id may go along)",
            )
    if body and not _is_json(body):
        raise InvalidTask("/body", "a function takes JSON or nothing; give a payload")


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
