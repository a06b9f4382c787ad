"""HTTP as bytes on a socket, for what no client would send."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

JSON = "Content-Type: application/json"


@dataclass(frozen=True)
class Raw:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Wire:
    """One connection."""

    def __init__(self, port: int, *, timeout: float = 20) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._read = self._socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._read.close()
        self._socket.close()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def finish(self) -> None:
        """Say that nothing more will be sent; answers can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    def send_head(self, method: str, path: str, *headers: str) -> None:
        """A request line and headers, and nothing of a body yet."""
        self.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "\r\n"]).encode())

    def post(self, path: str, body: object, *headers: str) -> Raw:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_head("POST", path, JSON, f"Content-Length: {len(content)}", *headers)
        self.send(content)
        return self.answer()

    def get(self, path: str) -> Raw:
        self.send_head("GET", path)
        return self.answer()

    def answer(self) -> Raw:
        """The next answer; fails when the connection ends before."""
        status = self._read.readline()
        assert status.startswith(b"HTTP/1.1 "), f"the connection ended with {status!r}"
        headers: dict[str, str] = {}
        while line := self._read.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        content = self._read.read(int(headers.get("content-length", 0)))
        return Raw(int(status.split()[1]), headers, content)

    def ended(self) -> bool:
        """True once the peer has closed; waits for it."""
        try:
            return self._read.read(1) == b""
        except ConnectionError:
            return True
