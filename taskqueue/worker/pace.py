"""How many attempts end in a second, at this moment."""

from __future__ import annotations

from collections.abc import Callable

from taskqueue.worker.clock import ticks

_WINDOW = 0.1  # seconds


class Pace:
    """Counts over short windows, so that it notices at once when attempts begin to take long."""

    def __init__(self, now: Callable[[], float] = ticks) -> None:
        self._now = now
        self._count, self._since, self._former = 0, now(), 0.0

    def note(self) -> None:
        """One has ended."""
        self._count += 1
        passed = self._now() - self._since
        if passed >= _WINDOW:
            self._former = self._count / passed
            self._count, self._since = 0, self._now()

    @property
    def rate(self) -> float:
        """Of the last whole window; less once none has ended for longer than that."""
        passed = self._now() - self._since
        return self._former if passed < _WINDOW else min(self._former, self._count / passed)
