"""Hints on SQLite: a datagram socket per listener, in a folder beside the database file."""

from __future__ import annotations

import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taskqueue.store.dialect import Hint

_COUNT = itertools.count()
_CLOSE = b"close"


class Bell:
    """Sends hints to every listener of one database file. What it needs stays open between the hints."""

    def __init__(self, file: Path) -> None:
        self._folder = _folder(file)
        self._lock = threading.Lock()
        self._open: _Opened | None = None

    def ring(self, hints: Iterable[Hint]) -> None:
        """Send each hint to each listener that can be reached.

        Never raises: the commit it tells of has been made, and an error would make the caller repeat it.
        """
        # There is no folder if nobody ever listened; without a free descriptor nobody is told, and polling has to do.
        with suppress(OSError), self._lock:
            names = os.listdir(self._opened().handle)
            if not names:  # or another folder stands in the place of the one that is open
                self.close()
                names = os.listdir(self._opened().handle)
            for name in names:
                for hint in hints:
                    self._send(self._opened(), hint, name)

    def close(self) -> None:
        """Let go of what is open; the next hint opens it again."""
        if self._open is not None:
            self._open.sender.close()
            os.close(self._open.handle)
            self._open = None

    def _opened(self) -> _Opened:
        if self._open is None:
            handle = os.open(self._folder, os.O_RDONLY)
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sender.setblocking(False)
            self._open = _Opened(handle, sender, _reach(self._folder, handle))
        return self._open

    def _send(self, opened: _Opened, hint: Hint, name: str) -> None:
        try:
            opened.sender.sendto(hint.value.encode(), f"{opened.reach}/{name}")
        except ConnectionRefusedError:  # its process is dead
            with suppress(OSError):
                os.unlink(name, dir_fd=opened.handle)
        except OSError:  # its buffer is full: it has enough to wake up for
            return


@dataclass(frozen=True, slots=True)
class _Opened:
    handle: int  # of the folder
    sender: socket.socket
    reach: str


class SqliteListener:
    """One socket that hears the hints sent by ``tell``."""

    def __init__(self, file: Path, hints: frozenset[Hint]) -> None:
        self._hints = {hint.value.encode() for hint in hints}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        folder = _folder(file)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{next(_COUNT)}"
        self._path.unlink(missing_ok=True)  # of an earlier process with our number
        handle = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # without it, polling has to do
            self._socket.bind(f"{_reach(folder, handle)}/{self._path.name}")
        os.close(handle)
        self._closer, self._closing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._lock = threading.Lock()
        self._poll = select.poll()  # select() cannot watch a descriptor above 1023
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._closing, select.POLLIN)

    def wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._socket.fileno() >= 0 and (left := deadline - time.monotonic()) > 0:
                ready = {handle for handle, _ in self._poll.poll(left * 1000)}
                if self._closing.fileno() in ready:
                    return False
                if ready and self._heard():
                    return True
        return False

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._closer.send(_CLOSE)
        with self._lock:
            for handle in (self._socket, self._closer, self._closing):
                handle.close()

    def _heard(self) -> bool:
        """Take everything that was sent: many hints are worth one look."""
        heard = False
        with suppress(BlockingIOError):
            while True:
                heard |= self._socket.recv(16) in self._hints
        return heard


def _folder(file: Path) -> Path:
    return file.with_name(f"{file.name}-listeners")


def _reach(folder: Path, handle: int) -> str:
    """A short path to the open ``folder``: the address of a Unix socket may have little more than 100 bytes."""
    return f"/proc/self/fd/{handle}" if os.path.isdir("/proc/self/fd") else str(folder)
