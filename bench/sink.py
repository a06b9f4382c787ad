"""A target as a process of its own: it answers 200, and keeps how old each body was that says when it was made.

It answers at once, but for ``/after/50`` that many milliseconds later.

Prints its port. ``GET`` takes what was kept as a JSON list of seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast
from urllib.request import urlopen

import httptools
import uvloop

from bench.children import HOST, end_with_parent

_DATED = b'{"at": '
_AFTER = b"/after/"
_ages: list[float] = []


def dated() -> bytes:
    """A body that says when it was made, on the clock that all processes of this machine share."""
    return _DATED + str(time.monotonic()).encode() + b"}"


def take_ages(port: int) -> list[float]:
    """How old the dated bodies were that have arrived since the last call."""
    with urlopen(f"http://{HOST}:{port}/") as answer:
        ages: list[float] = json.load(answer)
    return ages


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body, self._path = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if body.startswith(_DATED):
            _ages.append(time.monotonic() - float(body[len(_DATED) : -1]))
        if self._parser.get_method() == b"GET":
            self._transport.write(_answer(json.dumps(_ages).encode()))
            _ages.clear()
        elif self._path.startswith(_AFTER):
            later = int(self._path.removeprefix(_AFTER)) / 1000
            asyncio.get_running_loop().call_later(later, self._transport.write, _DONE)
        else:
            self._transport.write(_DONE)


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


_DONE = _answer(b'{"done": true}')


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    end_with_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
