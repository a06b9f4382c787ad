"""A target as a process of its own: it answers 200, and keeps how old each body was that says when it was made.

Run as ``python -m bench.sink [SECONDS]``: how long it takes to answer, without which it answers at once; to a request
for ``/after/50`` that many milliseconds. Prints its port. ``GET`` takes what was kept since the last time, as JSON: of
``/`` those ages in seconds, of ``/arrivals`` how many requests came and when the first did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast
from urllib.request import urlopen

import httptools
import uvloop

from bench.children import HOST, end_with_parent

_DATED = b'{"at": '
_AFTER = b"/after/"


@dataclass(slots=True)
class Arrivals:
    """``first`` is on the clock that all processes of this machine share."""

    count: int = 0
    first: float = 0.0


def dated() -> bytes:
    """A body that says when it was made, on the clock that all processes of this machine share."""
    return _DATED + str(time.monotonic()).encode() + b"}"


def take_ages(port: int) -> list[float]:
    """How old the dated bodies were that have arrived since the last call."""
    with urlopen(f"http://{HOST}:{port}/") as answer:
        ages: list[float] = json.load(answer)
    return ages


def take_arrivals(port: int) -> Arrivals:
    """The requests since the last call."""
    with urlopen(f"http://{HOST}:{port}/arrivals") as answer:
        return Arrivals(**json.load(answer))


class _Target:
    """What all connections share."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ages: list[float] = []
        self._arrivals = Arrivals()

    def answers_after(self, path: bytes) -> float:
        return int(path.removeprefix(_AFTER)) / 1000 if path.startswith(_AFTER) else self._seconds

    def arrived(self, body: bytes) -> None:
        if not self._arrivals.count:
            self._arrivals.first = time.monotonic()
        self._arrivals.count += 1
        if body.startswith(_DATED):
            self._ages.append(time.monotonic() - float(body[len(_DATED) : -1]))

    def taken(self, path: bytes) -> bytes:
        if path == b"/arrivals":
            arrivals, self._arrivals = self._arrivals, Arrivals()
            return json.dumps(asdict(arrivals)).encode()
        ages, self._ages = self._ages, []
        return json.dumps(ages).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, target: _Target) -> None:
        self._target = target
        self._parser = httptools.HttpRequestParser(self)
        self._path = self._body = b""

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
        if self._parser.get_method() == b"GET":
            self._transport.write(_answer(self._target.taken(self._path)))
            return
        self._target.arrived(body)
        if seconds := self._target.answers_after(self._path):
            asyncio.get_running_loop().call_later(seconds, self._transport.write, _DONE)
        else:
            self._transport.write(_DONE)


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


_DONE = _answer(b'{"done": true}')


async def _serve(seconds: float) -> None:
    target = _Target(seconds)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(target), HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    end_with_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
