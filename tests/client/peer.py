"""A peer of the client that answers as it is told, on real sockets, and keeps a record of what it was asked."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

TASK: dict[str, Any] = {
    "id": "01930000-0000-7000-8000-000000000001",
    "status": "queued",
    "attempt": 0,
    "maxAttempts": 4,
    "result": None,
    "error": None,
    "deadReason": None,
}
Answer = Callable[[socket.socket], bool]  # False: the connection is over


class Asked(NamedTuple):
    """One request, and which connection (from 1) it came on."""

    method: str
    path: str
    headers: Mapping[str, str]  # lower case
    body: bytes
    connection: int
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """Gives its answers one after the other, whatever it is asked; the last one again and again."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self._answers, self._tls = list(answers), tls
        self._connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many were read: a client that gave up may have been quicker than its bytes."""
        until = time.monotonic() + 20
        while len(self.asked) < count:
            assert time.monotonic() < until, f"{len(self.asked)} requests came, not {count}"
            time.sleep(0.005)

    def hang_up(self) -> None:
        """Close every open connection, as a server does with idle ones."""
        while self._open:
            _close(self._open.pop())

    def close(self) -> None:
        _close(self._listener)
        self.hang_up()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections += 1
                threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError, EOFError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            reader = connection.makefile("rb")
            while True:
                self.asked.append(_read(reader, number))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if not answer(connection):
                    break
        _close(connection)


@contextmanager
def peer(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A peer that is there for as long as the block runs."""
    serving = Peer(*answers, tls=tls)
    try:
        yield serving
    finally:
        serving.close()


def says(status: int, body: Any = None, **headers: str) -> Answer:
    """An ordinary answer: JSON, or the very bytes or text given; ``Retry_After="1"`` becomes a header."""
    if isinstance(body, str | bytes):
        content = body.encode() if isinstance(body, str) else body
    else:
        content = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items())]
    if status != 204:
        lines.append(f"Content-Length: {len(content)}")
    return sends("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def accepts(**fields: Any) -> Answer:
    """202 with a task."""
    return says(202, TASK | fields)


def problem(status: int, title: str, *errors: tuple[str, str], **headers: str) -> Answer:
    """An error of the service, as RFC 9457 has it."""
    document = {"title": title, "status": status, "detail": "see errors" if errors else "no detail"}
    faults = [{"pointer": pointer, "detail": detail} for pointer, detail in errors]
    return says(status, document | {"errors": faults}, Content_Type="application/problem+json", **headers)


def sends(raw: bytes) -> Answer:
    """These bytes, and the connection stays open."""

    def answer(connection: socket.socket) -> bool:
        connection.sendall(raw)
        return True

    return answer


def then_hangs_up(first: Answer) -> Answer:
    """``first``, then the end of the connection, which nothing announced."""

    def answer(connection: socket.socket) -> bool:
        first(connection)
        return False

    return answer


def hangs_up(_: socket.socket) -> bool:
    """The request was read; the connection ends without an answer."""
    return False


def resets(connection: socket.socket) -> bool:
    """The request was read; the connection is reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def is_silent(connection: socket.socket) -> bool:
    """No answer until the client gives up."""
    return connection.recv(1) != b""


def drips(connection: socket.socket) -> bool:
    """A header that never ends, a byte at a time."""
    connection.sendall(b"HTTP/1.1 202 Accepted\r\nX: ")
    while True:
        connection.sendall(b".")
        time.sleep(0.05)


def _read(reader: Any, connection: int) -> Asked:
    first = reader.readline().decode().split()
    if not first:
        raise EOFError
    headers = {}
    while line := reader.readline().decode("latin-1").strip():
        name, _, text = line.partition(":")
        headers[name.lower()] = text.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Asked(first[0], first[1], headers, body, connection, time.monotonic())


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
