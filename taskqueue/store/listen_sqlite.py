"""Hints on SQLite: a datagram socket per listener, in a folder beside the database file."""

from __future__ import annotations

import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskqueue.store.dialect import Hint

_COUNT = itertools.count()
_CLOSE = b"close"


def tell(file: Path, hints: Iterable[Hint]) -> None:
    """Send each hint to every listener of ``file``, as far as they can be reached.

    Never raises: the commit it tells of has been made, and an error would make the caller repeat it.
    """
    folder = _folder(file)
    # There is no folder if nobody ever listened; without a free descriptor nobody can be told, and polling has to do.
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        _reach(folder) as reach,
    ):
        sender.setblocking(False)
        for name in os.listdir(folder):
            for hint in hints:
                _send(sender, hint, reach, folder / name)


def _send(sender: socket.socket, hint: Hint, reach: str, listener: Path) -> None:
    try:
        sender.sendto(hint.value.encode(), f"{reach}/{listener.name}")
    except ConnectionRefusedError:  # its process is dead
        with suppress(OSError):
            listener.unlink()
    except OSError:  # its buffer is full: it has enough to wake up for
        return


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
        with _reach(folder) as reach, suppress(OSError):  # without it, polling has to do
            self._socket.bind(f"{reach}/{self._path.name}")
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


@contextmanager
def _reach(folder: Path) -> Iterator[str]:
    """A short path to ``folder``: the address of a Unix socket may have little more than 100 bytes."""
    if not os.path.isdir("/proc/self/fd"):
        yield str(folder)
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
