"""The bare HTTP client: the same bytes over kept connections, the answer parsed and dropped."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

import httptools

from bench.children import HOST


@dataclass(slots=True)
class Exchanges:
    """``count`` requests, shared out among the connections as each becomes free."""

    message: bytes
    count: int
    sent: int = 0
    latencies: list[float] = field(default_factory=list)
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def exchange(port: int, *, message: bytes, connections: int, count: int) -> tuple[float, list[float]]:
    """Send ``message`` ``count`` times; return the seconds it took once connected, and each request's own."""
    shared = Exchanges(message, count)
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Connection(shared), HOST, port) for _ in range(connections)]
    start = time.perf_counter()
    for _, connection in made:
        connection.next()
    try:
        await shared.over
        return time.perf_counter() - start, shared.latencies
    finally:
        for transport, _ in made:
            transport.close()


def post(port: int, path: str, body: bytes, headers: tuple[str, ...] = ("Content-Type: application/json",)) -> bytes:
    """A request, ready to be written."""
    lines = (f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", *headers, f"Content-Length: {len(body)}", "", "")
    return "\r\n".join(lines).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, shared: Exchanges) -> None:
        self._shared = shared
        self._started = 0.0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def next(self) -> None:
        if self._shared.sent < self._shared.count:
            self._shared.sent += 1
            self._started = time.perf_counter()
            self._transport.write(self._shared.message)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        shared, status = self._shared, self._parser.get_status_code()
        if not 200 <= status < 300:
            self._fail(f"the server answered {status}")
            return
        shared.latencies.append(time.perf_counter() - self._started)
        if len(shared.latencies) == shared.count and not shared.over.done():
            shared.over.set_result(None)
        self._parser = httptools.HttpResponseParser(self)
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection: {exc}")

    def _fail(self, why: str) -> None:
        if not self._shared.over.done():
            self._shared.over.set_exception(ConnectionError(why))
