"""The slots of one worker: how many tasks it may hold, and which it holds."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from taskqueue.core.task import LeaseToken
from taskqueue.store.room import Share
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Held

_KEPT_FREE = 32  # of so many slots one is for flow keys that hold less; at least one in all


class Slots:
    """Every held task takes one slot from its claim until it is settled or let go.

    ``take`` and ``held`` may be called from any thread: a lease must be extended from the instant it exists, even while
    the event loop stalls. The rest belongs to the loop.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[LeaseToken, Held] = {}
        self._by_flow: Counter[tuple[str, str]] = Counter()  # project and flow key
        self._lock = threading.Lock()
        self._freed = asyncio.Event()
        self._wanted = 1  # free slots that somebody waits for
        self._tell: Callable[[], None] | None = None
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

    @property
    def share(self) -> Share:
        """What one flow key may hold of the slots: nearly all, but never the last few, so that no host that hangs keeps
        this worker from every other."""
        with self._lock:
            return Share(max(1, self._size - max(1, self._size // _KEPT_FREE)), dict(self._by_flow))

    def take(self, claimed: Iterable[Held]) -> None:
        with self._lock:
            for held in claimed:
                self._held[held.lease.token] = held
                self._by_flow[_flow(held)] += 1

    def release(self, held: Held) -> None:
        with self._lock:
            if self._held.pop(held.lease.token, None) is not None:
                self._by_flow[_flow(held)] -= 1
                if not self._by_flow[_flow(held)]:
                    del self._by_flow[_flow(held)]
        if self.free >= self._wanted:
            self._freed.set()
        if self._tell is not None:
            self._tell()

    def tell_freed(self, tell: Callable[[], None] | None) -> None:
        """Call ``tell`` for each slot that comes free from now on; ``None`` to call nobody."""
        self._tell = tell

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


def _flow(held: Held) -> tuple[str, str]:
    spec = held.task.spec
    return spec.project, spec.flow_key or spec.origin
