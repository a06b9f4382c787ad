"""Lambda's Runtime API for one process: hands events to the runtime client, and takes what the handler says."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field

from taskqueue.faultlab.lambda_said import LIMIT_BYTES, LambdaAnswer, too_long
from taskqueue.faultlab.wire import MAX_HEAD, BadRequest, Headers, Peer, PeerGone, Request

_API = "/2018-06-01/runtime"
_ARN = "arn:aws:lambda:eu-west-1:000000000000:function:"


@dataclass(slots=True, eq=False)
class Invocation:
    """One event on its way through a function."""

    event: bytes
    name: str
    seconds: float  # the function's time limit
    context: str | None = None  # JSON
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken_at: float | None = None  # of the monotonic clock
    broken: bool = False  # the runtime client does not survive what it was told
    said: asyncio.Future[LambdaAnswer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def headers(self) -> Headers:
        context = (("Lambda-Runtime-Client-Context", self.context),) if self.context is not None else ()
        return (
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + self.seconds) * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", _ARN + self.name),
            ("Content-Type", "application/json"),
            *context,
        )

    def say(self, answer: LambdaAnswer) -> None:
        if not self.said.done():
            self.said.set_result(answer)


class RuntimeApi:
    """Listens on loopback for one runtime client, until closed."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Invocation] = asyncio.Queue()
        self._running: Invocation | None = None
        self._server: asyncio.Server
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """The address for ``AWS_LAMBDA_RUNTIME_API``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hand_over(self, invocation: Invocation) -> None:
        self._running = invocation
        self._waiting.put_nowait(invocation)

    async def close(self) -> None:
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio serves each connection in a task"
        self._serving.add(task)
        peer = Peer(reader, writer)
        try:
            with suppress(PeerGone, BadRequest, asyncio.CancelledError):
                while True:
                    await self._answer(peer, await peer.head())
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _answer(self, peer: Peer, head: Request) -> None:
        body = await peer.body(head)
        if head.path == f"{_API}/invocation/next":
            invocation = await self._waiting.get()
            invocation.taken_at = time.monotonic()
            await peer.answer(200, invocation.event, invocation.headers)
        elif self._running is None:
            await peer.answer_json(403, {"errorMessage": "nothing was asked"})
        elif head.path.endswith("/response") and len(body) > LIMIT_BYTES:
            self._running.broken = True
            self._running.say(too_long(len(body)))
            await peer.answer_json(
                413, {"errorMessage": "the response is too long", "errorType": "RequestEntityTooLarge"}
            )
        else:
            error = None if head.path.endswith("/response") else "Unhandled"
            self._running.say(LambdaAnswer(body=body, function_error=error))
            await peer.answer_json(202, {"status": "OK"})
