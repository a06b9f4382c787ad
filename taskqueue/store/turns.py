"""Turns: a lock that is handed on in the order in which it was asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Threads that keep asking get their turn one after the other. With an ordinary lock, or the queue of a connection
    pool, the thread that just let go takes it again before a waiting one has woken up, for as long as it likes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self, timeout: float) -> Iterator[None]:
        """Hold the turn; ``TimeoutError`` when it did not come within ``timeout`` seconds."""
        self._take(timeout)
        try:
            yield
        finally:
            self._hand_on()

    def _take(self, timeout: float) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        if called.acquire(timeout=max(0.0, timeout)):
            return
        with self._lock:
            if called in self._waiting:
                self._waiting.remove(called)
                raise TimeoutError("this thread's turn to write did not come in time")
        # Called at the very last moment: the turn is ours.

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
