"""Lambda's Invoke, behind a signature check: real handlers by name, and anything Lambda can answer by its name."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping

from taskqueue.faultlab.functions import Function
from taskqueue.faultlab.lambda_said import BY_CLASS, EXCEPTIONS, LambdaAnswer, refused
from taskqueue.faultlab.sandbox import Sandbox
from taskqueue.faultlab.sigv4 import Account
from taskqueue.faultlab.wire import Request

_PATH = re.compile(r"/2015-03-31/functions/(?:[^/]+:)?([A-Za-z0-9_-]+)/invocations")
_MOST_EVENTS = 100  # under way at a time; nobody waits for them


class Invoke:
    """Answers as Lambda does for the functions it was made with."""

    def __init__(self, account: Account, functions: Mapping[str, Function], *, seconds: float) -> None:
        self._account = account
        self._sandboxes = {name: Sandbox(name, each, seconds=seconds) for name, each in functions.items()}
        self._events: set[asyncio.Task[LambdaAnswer]] = set()

    def function(self, request: Request) -> str | None:
        """The function that ``request`` is for; ``None`` when it is for none."""
        match = _PATH.fullmatch(request.path)
        return match[1] if match else None

    def refusal(self, request: Request) -> LambdaAnswer | None:
        """Why nothing runs, as Lambda says it."""
        if (unsigned := self._account.refusal(request)) is not None:
            return unsigned
        if request.method != "POST":
            return LambdaAnswer(405, b"{}", exception="MethodNotAllowedException")
        if request.body and request.json is None and request.body.strip() != b"null":
            return refused("InvalidRequestContentException")
        return None

    async def run(self, name: str, request: Request) -> LambdaAnswer:
        """What Lambda answers once ``request`` is found in order."""
        if (answer := BY_CLASS.get(name)) is not None:
            return answer
        if name in EXCEPTIONS:
            return refused(name)
        sandbox = self._sandboxes.get(name)
        if sandbox is None:
            arn = f"arn:aws:lambda:{self._account.region}:000000000000:function:{name}"
            return refused("ResourceNotFoundException", f"Function not found: {arn}")
        match (request.header("x-amz-invocation-type") or "RequestResponse").lower():
            case "event":
                return self._hand_over(sandbox, request)
            case "dryrun":
                return LambdaAnswer(204)
        return await sandbox.invoke(request.body, _context(request))

    async def close(self) -> None:
        for event in self._events:
            event.cancel()
        await asyncio.gather(*self._events, return_exceptions=True)
        for sandbox in self._sandboxes.values():
            await sandbox.close()

    def _hand_over(self, sandbox: Sandbox, request: Request) -> LambdaAnswer:
        if len(self._events) >= _MOST_EVENTS:
            return refused("TooManyRequestsException")
        task = asyncio.create_task(sandbox.invoke(request.body, None))
        self._events.add(task)
        task.add_done_callback(self._events.discard)
        return LambdaAnswer(202)


def _context(request: Request) -> str | None:
    given = request.header("x-amz-client-context")
    if given is None:
        return None
    try:
        return base64.b64decode(given, validate=True).decode("latin-1")
    except ValueError:
        return None
