"""One connection of the lab: requests off the wire, and anything at all back onto it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 64 * 1024
MAX_BODY = 16 * 2**20
_IDLE_SECONDS = 60.0  # for a peer that has begun nothing, or does not go on
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Headers = tuple[tuple[str, str], ...]


class PeerGone(Exception):
    """The connection is over."""


class BadRequest(Exception):
    """What came is not a request the lab understands; the text says why."""


@dataclass(frozen=True)
class Request:
    """One request; ``body`` is empty until it was read."""

    method: str
    target: str  # as sent
    headers: Headers  # names in lower case
    body: bytes = b""

    @property
    def path(self) -> str:
        """Without the query, its percent signs read."""
        return unquote(self.target.partition("?")[0])

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @cached_property
    def json(self) -> Any:
        """The body as JSON; ``None`` where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def header(self, name: str) -> str | None:
        """The first value of ``name`` (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


class Peer:
    """The lab's end of one connection. Every method raises ``PeerGone`` when the other side has left."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def head(self) -> Request:
        """The next request, without its body; ``BadRequest`` for what is none."""
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                raw = await self._reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            raise PeerGone from None
        except asyncio.LimitOverrunError:
            raise BadRequest(f"the head of the request is longer than {MAX_HEAD} bytes") from None
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        if first.count(" ") != 2:
            raise BadRequest("the request does not begin with: METHOD path HTTP/1.1")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        return Request(method, target, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))

    async def body(self, request: Request) -> bytes:
        """The body of ``request``; ``BadRequest`` for one that is too long or of unknown length."""
        length = request.header("content-length") or "0"
        if request.header("transfer-encoding") is not None or not length.isdecimal():
            raise BadRequest("the lab reads bodies of a known length alone; send a Content-Length")
        if int(length) > MAX_BODY:
            raise BadRequest(f"the body is longer than {MAX_BODY} bytes")
        if (request.header("expect") or "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                return await self._reader.readexactly(int(length))
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            raise PeerGone from None

    async def answer(self, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> None:
        """A whole and well-formed answer."""
        lines = [status_line(status), *(f"{name}: {value}" for name, value in headers)]
        if status >= 200 and status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        else:
            body = b""
        await self.send("\r\n".join([*lines, "\r\n"]).encode("latin-1", "replace") + body)

    async def answer_json(self, status: int, value: Any, headers: Iterable[tuple[str, str]] = ()) -> None:
        body = json.dumps(value, indent=1).encode() + b"\n"
        await self.answer(status, body, (("Content-Type", "application/json"), *headers))

    async def send(self, data: bytes) -> None:
        """``data`` as it stands, once the other side takes it."""
        if self._writer.is_closing():
            raise PeerGone
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise PeerGone from None

    async def until_gone(self, seconds: float) -> None:
        """Wait until the other side closes, reading and dropping what it sends; ``seconds`` at most."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(seconds):
                while await self._reader.read(65536):
                    pass

    def reset(self) -> None:
        """Cut the connection off as a machine that crashes does."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    def close(self) -> None:
        """Close once what was sent is on its way."""
        with suppress(OSError):
            self._writer.close()


def status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status:03} {phrase}"
