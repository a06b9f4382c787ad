"""The slots of one worker: how many tasks it may hold, and which it holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from taskqueue.core.task import LeaseToken
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Held


class Slots:
    """Every held task takes one slot from its claim until it is settled or let go.

    ``take`` and ``held`` may be called from any thread: a lease must be extended from the instant it exists, even while
    the event loop stalls. The rest belongs to the loop.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[LeaseToken, Held] = {}
        self._lock = threading.Lock()
        self._freed = asyncio.Event()
        self._wanted = 1  # free slots that somebody waits for
        self.pulse = ticks()  # when the event loop last showed that it runs

    @property
    def size(self) -> int:
        return self._size

    @property
    def free(self) -> int:
        return self._size - len(self._held)

    @property
    def taken(self) -> int:
        return len(self._held)

    def take(self, claimed: Iterable[Held]) -> None:
        with self._lock:
            self._held.update((held.lease.token, held) for held in claimed)

    def release(self, held: Held) -> None:
        with self._lock:
            self._held.pop(held.lease.token, None)
        if self.free >= self._wanted:
            self._freed.set()

    def held(self) -> list[Held]:
        """Those held at this instant."""
        with self._lock:
            return list(self._held.values())

    async def until_free(self, wanted: int = 1) -> None:
        """Wait until ``wanted`` slots are free. One waits at a time: the claims, then the drain."""
        self._wanted = wanted
        while self.free < wanted:
            self._freed.clear()
            await self._freed.wait()

    async def until_empty(self) -> None:
        """Wait until nothing is held."""
        await self.until_free(self._size)
