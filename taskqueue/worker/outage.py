"""What goes wrong for a while: how long to wait before the next try, and one log line per change, not per try."""

from __future__ import annotations

import random

from taskqueue import telemetry
from taskqueue.core.errors import StoreUnavailable
from taskqueue.telemetry import Event

_FIRST, _LONGEST = 0.1, 2.0  # seconds


class Outage:
    """The condition of one thing this worker keeps doing, such as its claims. Used by one thread at a time."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._strikes = 0
        self._shown: str | None = None

    @property
    def on(self) -> bool:
        """True if the last try failed."""
        return self._strikes > 0

    def struck(self, error: Exception) -> float:
        """Seconds to wait, with jitter, before trying again."""
        self._tell(error)
        self._strikes += 1
        wait = min(_LONGEST, _FIRST * 2.0 ** min(self._strikes, 10))
        return wait * random.uniform(0.5, 1)  # noqa: S311 - spreads load

    def over(self) -> None:
        """It works, or works again."""
        if self._strikes:
            telemetry.info(Event.WORKER_RECOVERED, what=self._what, failures=self._strikes)
            self._strikes, self._shown = 0, None

    def _tell(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text == self._shown:
            return
        self._shown = text
        if isinstance(error, StoreUnavailable):
            telemetry.warning(Event.STORE_UNAVAILABLE, what=self._what, error=str(error))
        else:
            telemetry.exception(Event.WORKER_FAULT, error, what=self._what)
