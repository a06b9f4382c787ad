"""The claim, whole: which strands are looked at, what they may give, and when they are looked at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from taskqueue.core.rota import Rota
from taskqueue.core.task import Task
from taskqueue.store.database import Database
from taskqueue.store.dialect import Claims, Due, Leasing
from taskqueue.store.room import Room, Share

_FEW = 64  # due strands that are simply all looked at
_RINGS = 32  # so many times eight projects, should none of them have anything due
_BREADTH, _WIDE = 32, 256  # strands of each priority of a project, when there are many; if these are not enough


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker asks for."""

    worker: str
    limit: int
    lease: timedelta
    after: str = ""  # the project at which the former claim ended
    flow_cap: int | None = None  # of flow keys that have none of their own
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim came to. ``at_share``: the worker's own share kept it from more, so that its next free slot may
    change that. ``more``: there was more to look at than one claim does. ``now``: when it was, by the database."""

    tasks: list[Task]
    after: str
    at_share: bool
    more: bool
    now: datetime


def take(conn: Connection, database: Database, wanted: Wanted) -> Taken:
    """Lease up to ``wanted.limit`` tasks, never more and never beyond a limit."""
    claims = database.dialect.claims()
    now = claims.enter(conn) + database.clock_offset()
    leasing = Leasing(wanted.worker, now, now + wanted.lease)
    due = claims.due(conn, now=now, limit=_FEW)
    room, rota = Room(now, wanted.flow_cap, wanted.share), Rota(now, after=wanted.after)
    tasks: list[Task] = []
    look = _Look(claims, conn, leasing, wanted.after)
    for found in look.rounds(due):
        rota.join(room.places(conn, found))
        if free := room.free():
            # A slot that came free woke one of those that ran into the limit; whose turn it is, is seen here.
            rota.join(room.places(conn, claims.blocked(conn, free, now=now)))
        while (want := wanted.limit - len(tasks)) and (offers := rota.offers(want)):
            leased = claims.lease(conn, offers, limit=want, leasing=leasing)
            tasks += [task for _, task in leased]
            rota.note(offers, Counter((task.spec.project, strand) for strand, task in leased), full=len(leased) == want)
        if len(tasks) == wanted.limit:
            break
    if looks := rota.looks():
        claims.look_again(conn, looks, now=now)
    room.draw(conn)
    # Where a full claim ended, not where its ring did: in claims of a few tasks, the rest of the ring had no turn yet.
    after = rota.reached if len(tasks) == wanted.limit else look.after
    return Taken(tasks, after, rota.at_share, more=not due.folded, now=now)


class _Look:
    """The due strands, in rounds: all of them if they are few, else those of some projects after the other."""

    def __init__(self, claims: Claims, conn: Connection, leasing: Leasing, after: str) -> None:
        self._claims, self._conn, self._now = claims, conn, leasing.now
        self.after = after

    def rounds(self, due: Due) -> Iterator[list[Any]]:
        if not due.many:
            yield due.strands
            return
        for breadth in (_BREADTH, _WIDE):
            cut_off = False
            for _ in range(_RINGS):
                found, last = self._claims.due_by_project(self._conn, after=self.after, now=self._now, breadth=breadth)
                around, self.after = not last and not self.after, last
                yield found
                cut_off |= breadth in Counter((row.project, row.priority) for row in found).values()
                if around:
                    break
            if not cut_off:
                return
