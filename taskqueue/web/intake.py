"""How many requests may read their bodies at once: those who never send theirs must not take every thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskqueue.web.problems import BUSY, RETRY_AFTER, Problem

_PATIENCE = 1.0  # seconds; bodies that are on their way come within milliseconds


class Intake:
    """Places for requests that read their bodies, ``most`` at a time. The server offers no way to end such a read."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._freed = threading.Condition()
        self._began: dict[object, float] = {}  # the newest reader stands last

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place meanwhile; a 503 when none gets free soon, and at once when every reader has long stalled."""
        reader = object()
        came = time.monotonic()
        with self._freed:
            while len(self._began) >= self._most:
                newest = next(reversed(self._began.values()))
                left = min(came, newest) + _PATIENCE - time.monotonic()
                if left <= 0:
                    raise _busy()
                self._freed.wait(left)
            self._began[reader] = time.monotonic()
        try:
            yield
        finally:
            with self._freed:
                del self._began[reader]
                self._freed.notify()


def _busy() -> Problem:
    detail = "too many requests have not sent their bodies yet; nothing was stored, send this one again"
    return Problem(BUSY, detail, headers={"Retry-After": str(RETRY_AFTER)})
