"""Raw sockets: what the lab does on the wire, without any client in between."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 20.0


@dataclass(frozen=True)
class Heard:
    """What came back within the time, and how it ended: ``closed``, ``reset`` or ``open``."""

    data: bytes
    end: str

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])


@contextmanager
def connected(url: str, *, seconds: float = PATIENCE) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), seconds) as connection:
        yield connection


def ask(url: str, body: bytes = b"{}", *, seconds: float = PATIENCE, enough: int = 200_000, head: str = "") -> Heard:
    """POST ``body`` and listen for ``seconds``, or until ``enough`` bytes came."""
    with connected(url) as connection:
        connection.sendall(request(url, body, head))
        return listen(connection, seconds=seconds, enough=enough)


def answer(url: str, body: bytes = b"{}", *, head: str = "") -> Heard:
    """The whole answer to a POST, and whether the connection is open a moment later."""
    with connected(url) as connection:
        return answer_on(connection, url, body, head=head)


def answer_on(connection: socket.socket, url: str, body: bytes = b"{}", *, head: str = "") -> Heard:
    """As ``answer``, on a connection that stands."""
    connection.sendall(request(url, body, head))
    data, until = b"", time.monotonic() + PATIENCE
    while not _whole(data):
        piece = listen(connection, seconds=until - time.monotonic(), enough=1)
        assert piece.data, f"{data!r}, then {piece.end}"
        data += piece.data
    return Heard(data, listen(connection, seconds=0.05).end)


def request(url: str, body: bytes = b"{}", head: str = "") -> bytes:
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    lines = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    return lines.encode() + body


def listen(connection: socket.socket, *, seconds: float, enough: int = 200_000) -> Heard:
    data, until = b"", time.monotonic() + seconds
    while len(data) < enough and (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            break
        except ConnectionResetError:
            return Heard(data, "reset")
        if not piece:
            return Heard(data, "closed")
        data += piece
    return Heard(data, "open")


def _whole(data: bytes) -> bool:
    """Whether ``data`` is an answer to its end; one without a length ends with its head."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        return _whole(rest)
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(end) and len(rest) >= int(length[1] if length else 0)


def handshake(url: str, *, seconds: float = PATIENCE, authority: str | None = None) -> None:
    """A TLS handshake as a careful client makes it, who also trusts ``authority``; raises what goes wrong."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)
    parts = urlsplit(url)
    with connected(url, seconds=seconds) as connection:
        context.wrap_socket(connection, server_hostname=parts.hostname).close()
