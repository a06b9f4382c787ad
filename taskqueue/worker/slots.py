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
        self.pulse = ticks()  # when the event loop last showed that it runs

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
        self._freed.set()

    def held(self) -> list[Held]:
        """Those held at this instant."""
        with self._lock:
            return list(self._held.values())

    async def until_free(self) -> None:
        """Wait while every slot is taken."""
        while self.free <= 0:
            await self._change()

    async def until_empty(self) -> None:
        """Wait until nothing is held."""
        while self._held:
            await self._change()

    async def _change(self) -> None:
        self._freed.clear()
        await self._freed.wait()
