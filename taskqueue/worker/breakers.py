"""What attempts say of their hosts, gathered and told to the breakers.

Beside the settlements, never with them: a row that all attempts on a host write would make them wait for each other.
What was gathered is lost with its worker. A breaker is a rule of thumb, and the next attempts say the same.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from taskqueue import telemetry
from taskqueue.core.breaker import FAILURES, BreakerState, Mark
from taskqueue.core.outcome import Sign
from taskqueue.store import origins
from taskqueue.store.database import Database
from taskqueue.store.origins import Noted, Place
from taskqueue.telemetry import Event
from taskqueue.worker.clock import ticks
from taskqueue.worker.off_loop import StoreThread
from taskqueue.worker.outage import Outage

_SOON, _LATER = 0.005, 0.5  # seconds from a mark to its report
_FRESH = 1.0  # seconds for which a breaker that was found closed is taken to be so
_PATIENCE = 1.0  # seconds that an attempt waits for its report
_MOST_KNOWN = 10_000
_NEVER = float("inf")


@dataclass(slots=True)
class _Gathered:
    """When the calls on one origin had started whose ends were not reported yet."""

    sound: list[datetime] = field(default_factory=list)
    failed: list[datetime] = field(default_factory=list)


class Breakers:
    """``mark`` belongs to the event loop; the store is told on a thread of its own."""

    def __init__(self, database: Database, *, on: bool = True) -> None:
        self._database, self._on = database, on
        self.thread = StoreThread("breakers")
        self._outage = Outage("breakers")
        self._gathered: defaultdict[Place, _Gathered] = defaultdict(_Gathered)
        self._due_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._reporting = False
        self._told = asyncio.Event()  # once what is being gathered was reported, or could not be
        self._known: dict[Place, tuple[BreakerState, float]] = {}  # as last reported, and when

    async def mark(self, project: str, origin: str, sign: Sign, *, started_at: datetime) -> None:
        """An attempt on ``origin`` is over that started at this time by the database's clock.

        Returns at once but for a failure that its breaker should know of before the slot of the attempt is free: who
        is claimed into it would run into the same.
        """
        if sign is Sign.NOTHING or not self._on:
            return
        place = (project, origin)
        its = self._gathered[place]
        if sign is Sign.LIFE:
            its.sound.append(started_at)
            if self._due_at == _NEVER or place in self._known:
                self._plan(_SOON if self._found(place) is BreakerState.OPEN else _LATER)
            return
        its.failed.append(started_at)
        if self._found(place) is BreakerState.CLOSED and len(its.failed) < FAILURES:
            self._plan(_LATER)
            return
        self._plan(_SOON)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._told.wait()

    def _found(self, place: Place) -> BreakerState | None:
        """The stored state as this worker last saw it; that it is closed is not believed for long."""
        state, seen_at = self._known.get(place, (None, 0.0))
        return None if state is BreakerState.CLOSED and ticks() - seen_at > _FRESH else state

    def _plan(self, seconds: float) -> None:
        """Report within ``seconds``, or as soon as the report under way is over."""
        at = ticks() + seconds
        if at >= self._due_at:
            return
        self._due_at = at
        if not self._reporting:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._send)

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        gathered, told = self._gathered, self._told
        self._gathered, self._told = defaultdict(_Gathered), asyncio.Event()
        self._due_at, self._timer, self._reporting = _NEVER, None, True

        def over(noted: list[Noted] | None, error: BaseException | None) -> None:
            told.set()
            self._over(gathered, noted or [], error)

        def answer(noted: list[Noted] | None, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(over, noted, error)

        self.thread.put(lambda: _report(self._database, gathered), answer)

    def _over(self, places: Iterable[Place], noted: list[Noted], error: BaseException | None) -> None:
        self._reporting = False
        pause = 0.0
        if isinstance(error, Exception):
            pause = self._outage.struck(error)
        else:
            self._outage.over()
            self._note(places, noted)
        if self._due_at != _NEVER:
            self._set_timer(max(pause, self._due_at - ticks()))

    def _note(self, places: Iterable[Place], noted: list[Noted]) -> None:
        now = ticks()
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for place in places:
            self._known.pop(place, None)
        for each in noted:
            after = each.after
            self._known[after.project, after.origin] = (after.state, now)
            _tell(each)


def _report(database: Database, gathered: Mapping[Place, _Gathered]) -> list[Noted]:
    """What became of every breaker that they tell something. While all hosts are sound, that is one short look."""
    telling = {place for place, its in gathered.items() if its.failed}
    if sound := gathered.keys() - telling:
        with database.read() as conn:
            telling |= origins.heeded(conn, database, sound).keys()
    if not telling:
        return []
    marks = {place: _marks(gathered[place]) for place in telling}
    with database.begin() as conn:
        return origins.report(conn, database, marks, jitter=random.random())  # noqa: S311 - spreads load


def _marks(gathered: _Gathered) -> list[Mark]:
    return [
        *(Mark(started_at, failed=False) for started_at in gathered.sound),
        *(Mark(started_at, failed=True) for started_at in gathered.failed),
    ]


def _tell(noted: Noted) -> None:
    """That it opened or closed. That it opened again after a probe is nothing new."""
    before, after = noted.before, noted.after
    if before.state is after.state:
        return
    if after.state is BreakerState.OPEN and after.open_until is not None:
        seconds = round((after.open_until - after.changed_at).total_seconds(), 1)
        telemetry.warning(Event.BREAKER_OPENED, project=after.project, origin=after.origin, seconds=seconds)
    elif after.state is BreakerState.CLOSED:
        telemetry.info(Event.BREAKER_CLOSED, project=after.project, origin=after.origin, why="its host answers")
