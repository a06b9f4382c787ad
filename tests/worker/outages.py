"""A database that is away for a while: cut off from the network, or locked by somebody else."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit


class Outage(Protocol):
    """``url`` is that of the database as long as ``begin`` was not called, and again after ``end``."""

    url: str

    def begin(self, *, reset: bool = False) -> None:
        """``reset``: connections break, where the fault can do that, instead of falling silent."""

    def end(self) -> None: ...
    def close(self) -> None: ...


class Locked:
    """Another process holds SQLite's one write lock and does not let go."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._raw = sqlite3.connect(
            url.removeprefix("sqlite:///"), isolation_level=None, timeout=10, check_same_thread=False
        )

    def begin(self, *, reset: bool = False) -> None:
        self._raw.execute("begin immediate")

    def end(self) -> None:
        self._raw.execute("rollback")

    def close(self) -> None:
        self._raw.close()


class Cut:
    """A network between us and PostgreSQL that stops carrying anything, or breaks every connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._caught: bytes | None = None
        self._sockets: list[socket.socket] = []
        user = f"{parts.username}@" if parts.username else ""
        self.url = urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{self._listener.getsockname()[1]}"))
        threading.Thread(target=self._accept, name="cut", daemon=True).start()

    def catch(self, text: str) -> None:
        """Each connection over which ``text`` is sent falls silent, until ``end``; the others go on."""
        self._caught = text.encode()

    def begin(self, *, reset: bool = False) -> None:
        self._flows.clear()
        self._refuses = reset
        if reset:
            self._break()

    def end(self) -> None:
        self._refuses, self._caught = False, None
        self._flows.set()

    def close(self) -> None:
        self.end()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()

    def _break(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._refuses:
                    near.close()
                    continue
                far = socket.create_connection(self._server)
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), name="cut", daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                while self._caught and self._caught in data:
                    time.sleep(0.05)
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()
