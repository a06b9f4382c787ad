"""Extending leases from a thread of its own: an event loop that stalls must not lose them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from taskqueue.core.errors import StoreUnavailable
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.worker.background import Background
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Cut, Held
from taskqueue.worker.outage import Outage
from taskqueue.worker.slots import Slots

_DEAD_LOOP_SECONDS = 60.0  # a loop that stands still for longer will not come back: others should take its tasks over


class Heartbeat:
    """Extends every held lease in one statement; the attempts whose lease turns out to be void are cut."""

    def __init__(
        self, database: Database, slots: Slots, *, lease: timedelta, every: timedelta, fence_margin: timedelta
    ) -> None:
        self._database, self._slots, self._lease = database, slots, lease
        self._every = every.total_seconds()
        self._reliable = (lease - fence_margin).total_seconds()
        self._kept_until = self.fence(ticks())  # what the last good beat extended can be relied on until then
        self._outage = Outage("extend")
        self.thread = Background("extend")

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat until the thread is stopped; ``loop`` is told which attempts to cut."""
        self.thread.start(lambda: self._run(loop))

    def fence(self, asked_at: float) -> float:
        """Until when a lease can be relied on that was claimed or extended by a statement sent at ``asked_at``."""
        return asked_at + self._reliable

    def check(self) -> None:
        """Raise if the last good beat is so old that what it extended is fenced by now: a new lease could not be kept.

        The store may well answer others: the beat's connection alone can be frozen, or its statement wait for a lock.
        """
        if ticks() >= self._kept_until:
            raise StoreUnavailable(
                "no task is claimed until leases can be extended again; if this goes on while the database answers,"
                " start the worker anew",
                rolled_back=True,
            )

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pause = self._every
        while self.thread.rest(pause):
            began = ticks()
            try:
                self._beat(loop)
            except Exception as error:
                pause = min(self._outage.struck(error), self._every)
            else:
                self._outage.over()
                pause = self._every - (ticks() - began)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        held = self._slots.held()
        asked_at = ticks()
        if held:
            self._extend(held, asked_at, loop)
        elif self._outage.on:
            self._database.probe()  # that nothing is held any more mends nothing
        self._kept_until = self.fence(asked_at)

    def _extend(self, held: list[Held], asked_at: float, loop: asyncio.AbstractEventLoop) -> None:
        if asked_at - self._slots.pulse > _DEAD_LOOP_SECONDS:
            raise RuntimeError("the event loop stands still: its leases are left to lapse")
        with self._database.begin() as conn:
            stale = leases.extend(conn, self._database, [each.lease for each in held], lease=self._lease)
        for each in held:
            if each.lease not in stale:
                each.fence = self.fence(asked_at)
        if stale:
            with suppress(RuntimeError):  # the loop is closed: nothing is on the wire any more
                loop.call_soon_threadsafe(_cut, [each for each in held if each.lease in stale])


def _cut(stale: list[Held]) -> None:
    for held in stale:
        held.cut(Cut.STALE)
