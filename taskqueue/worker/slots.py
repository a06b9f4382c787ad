"""The slots of one worker: how many attempts it may have under way, and which tasks it holds."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from taskqueue.core.task import LeaseToken
from taskqueue.store.room import Share
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Cut, Held
from taskqueue.worker.pace import Pace

_KEPT_FREE = 32  # of so many slots one is for flow keys that hold less; at least one in all
# A claim takes some milliseconds, in which slots come free. As many tasks are held ready for them, so that none stays
# empty meanwhile; where attempts take long, that is none at all.
_AHEAD_SECONDS, _AHEAD_SHARE = 0.03, 2
_WAIT_SECONDS = 1.0  # for a slot, should attempts take longer all at once: others may have one
_MOST_HELD = 3  # times as many as slots, should settling be slow


class Slots:
    """A task is held from its claim until it is settled or let go. It takes a slot while its attempt is under way.

    ``take`` and ``held`` may be called from any thread: a lease must be extended from the instant it exists, even while
    the event loop stalls. The rest belongs to the loop.
    """

    def __init__(self, size: int, *, pace: Pace | None = None) -> None:
        self._size = size
        self._most_of_one = max(1, size - max(1, size // _KEPT_FREE))
        self._held: dict[LeaseToken, Held] = {}
        self._open: set[LeaseToken] = set()  # their attempts are under way, or still to begin
        self._open_by_flow: Counter[tuple[str, str]] = Counter()  # project and flow key
        self._lock = threading.Lock()
        self._running, self._running_by_flow = 0, Counter[tuple[str, str]]()
        self._waiting: dict[Held, asyncio.Future[None]] = {}
        self._pace = pace or Pace()
        self._freed = asyncio.Event()
        self._wanted = 1  # free slots that somebody waits for
        self._tell: Callable[[], None] | None = None
        self.pulse = ticks()  # when the event loop last showed that it runs

    @property
    def size(self) -> int:
        return self._size

    @property
    def free(self) -> int:
        """How many more tasks may be held."""
        return min(self._size + self._ahead - len(self._open), self._size * _MOST_HELD - len(self._held))

    @property
    def taken(self) -> int:
        return len(self._held)

    @property
    def share(self) -> Share:
        """What one flow key may hold of the slots: nearly all, but never the last few, so that no host that hangs keeps
        this worker from every other. And nothing ahead of them: while others are quick, what is held ready for a host
        that is slow would be given back and claimed again without end."""
        with self._lock:
            return Share(self._most_of_one, dict(self._open_by_flow))

    @property
    def _ahead(self) -> int:
        return min(self._size // _AHEAD_SHARE, int(self._pace.rate * _AHEAD_SECONDS))

    def take(self, claimed: Iterable[Held]) -> None:
        with self._lock:
            for held in claimed:
                self._held[held.lease.token] = held
                self._open.add(held.lease.token)
                self._open_by_flow[_flow(held)] += 1

    async def enter(self, held: Held) -> None:
        """Wait for a slot, in the order of the claims. Cuts ``held`` if none comes free soon."""
        if self._start(held):
            return
        turn = self._waiting[held] = asyncio.get_running_loop().create_future()
        given_up = asyncio.get_running_loop().call_later(_WAIT_SECONDS, held.cut, Cut.UNSTARTED)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(held)
            raise
        finally:
            given_up.cancel()
            self._waiting.pop(held, None)

    def leave(self, held: Held) -> None:
        """The attempt is over, and its slot is free."""
        flow = _flow(held)
        self._running -= 1
        self._running_by_flow[flow] -= 1
        if not self._running_by_flow[flow]:
            del self._running_by_flow[flow]
        self._pace.note()
        self._close(held)
        self._start_next()
        self._tell_free()

    def release(self, held: Held) -> None:
        """The task is settled, or somebody else's."""
        self._close(held)
        with self._lock:
            self._held.pop(held.lease.token, None)
        self._tell_free()

    def tell_freed(self, tell: Callable[[], None] | None) -> None:
        """Call ``tell`` for each slot that comes free from now on; ``None`` to call nobody."""
        self._tell = tell

    def held(self) -> list[Held]:
        """Those held at this instant."""
        with self._lock:
            return list(self._held.values())

    def waiting(self) -> list[Held]:
        """Those that wait for a slot."""
        return list(self._waiting)

    async def until_free(self, wanted: int = 1) -> None:
        """Wait until ``wanted`` more tasks may be held."""
        self._wanted = wanted
        while self.free < wanted:
            self._freed.clear()
            await self._freed.wait()

    async def until_empty(self) -> None:
        """Wait until nothing is held. Nobody may wait for free slots any more."""
        while self._held:
            self._freed.clear()
            self._wanted = 0
            await self._freed.wait()

    def _start(self, held: Held) -> bool:
        flow = _flow(held)
        if self._running >= self._size or self._running_by_flow[flow] >= self._most_of_one:
            return False
        self._running += 1
        self._running_by_flow[flow] += 1
        return True

    def _start_next(self) -> None:
        for held, turn in self._waiting.items():
            if not turn.done() and self._start(held):
                turn.set_result(None)
                return

    def _close(self, held: Held) -> None:
        with self._lock:
            if held.lease.token in self._open:
                self._open.remove(held.lease.token)
                self._open_by_flow[_flow(held)] -= 1
                if not self._open_by_flow[_flow(held)]:
                    del self._open_by_flow[_flow(held)]

    def _tell_free(self) -> None:
        if self.free >= self._wanted:
            self._freed.set()
        if self._tell is not None:
            self._tell()


def _flow(held: Held) -> tuple[str, str]:
    spec = held.task.spec
    return spec.project, spec.flow_key or spec.origin
