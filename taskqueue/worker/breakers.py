"""What attempts say of their hosts, gathered and told to the breakers.

Beside the settlements, never with them: a row that all attempts on a host write would make them wait for each other.
What was gathered is lost with its worker. A breaker is a rule of thumb, and the next attempts say the same.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
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

_SOON, _LATER = 0.02, 0.5  # seconds from a mark to its report
_FRESH = 1.0  # seconds for which a breaker that was found closed is taken to be so
_MOST_KNOWN = 10_000
Marks = dict[Place, list[Mark]]


class Breakers:
    """``mark`` belongs to the event loop, and takes no time; the store is told on a thread of its own."""

    def __init__(self, database: Database, *, on: bool = True) -> None:
        self._database, self._on = database, on
        self.thread = StoreThread("breakers")
        self._outage = Outage("breakers")
        self._marks: Marks = {}
        self._due_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._reporting = False
        self._known: dict[Place, tuple[BreakerState, float]] = {}  # as last reported, and when

    def mark(self, project: str, origin: str, sign: Sign, *, started_at: datetime) -> None:
        """An attempt on ``origin`` is over that started at this time by the database's clock."""
        if sign is Sign.NOTHING or not self._on:
            return
        place, failed = (project, origin), sign is Sign.FAILURE
        its = self._marks.setdefault(place, [])
        its.append(Mark(started_at, failed))
        self._plan(_SOON if self._urgent(place, failed, len(its)) else _LATER)

    def _urgent(self, place: Place, failed: bool, count: int) -> bool:
        """Whether what the breaker makes of it might keep others from the same failure, or let them start."""
        state, seen_at = self._known.get(place, (None, 0.0))
        if not failed:
            return state is BreakerState.OPEN  # a probe, then
        closed = state is BreakerState.CLOSED and ticks() - seen_at < _FRESH
        return not closed or count >= FAILURES

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
        marks, self._marks = self._marks, {}
        self._due_at, self._timer, self._reporting = float("inf"), None, True

        def answer(noted: list[Noted] | None, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._over, marks, noted, error)

        self.thread.put(lambda: _report(self._database, marks), answer)

    def _over(self, marks: Marks, noted: list[Noted] | None, error: BaseException | None) -> None:
        self._reporting = False
        pause = 0.0
        if isinstance(error, Exception):
            pause = self._outage.struck(error)
        else:
            self._outage.over()
            self._note(marks, noted or [])
        if self._marks:
            self._set_timer(max(pause, self._due_at - ticks()))

    def _note(self, marks: Marks, noted: list[Noted]) -> None:
        now = ticks()
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for place in marks:
            self._known.pop(place, None)
        for each in noted:
            after = each.after
            self._known[after.project, after.origin] = (after.state, now)
            _tell(each)


def _report(database: Database, marks: Marks) -> list[Noted]:
    """What became of every breaker that ``marks`` tell something. While all hosts are sound, that is one short look."""
    telling = {place for place, its in marks.items() if any(mark.failed for mark in its)}
    if sound := marks.keys() - telling:
        with database.read() as conn:
            telling |= origins.heeded(conn, database, sound).keys()
    if not telling:
        return []
    with database.begin() as conn:
        return origins.report(
            conn,
            database,
            {place: marks[place] for place in telling},
            jitter=random.random(),  # noqa: S311 - spreads load
        )


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
