"""Threads beside the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A thread that ends soon after ``stop``. One that hangs does not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self.name = f"taskqueue-{name}"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        """True once its work is over, whether or not it was told to stop."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        # A daemon, unlike the threads of an executor: those are joined at exit, however long the database keeps them.
        self._thread = threading.Thread(target=work, name=self.name, daemon=True)
        self._thread.start()

    def rest(self, seconds: float) -> bool:
        """Called by the work itself: sleep, and go on only if this is True."""
        return not self._stopped.wait(max(0.0, seconds))

    def stop(self) -> None:
        self._stopped.set()

    def join(self, seconds: float) -> None:
        """Wait until it has ended, but not for longer."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
