"""The claim on SQLite, statement by statement: inside one write transaction nobody else can take what was just read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, literal_column, select
from uuid_utils.compat import uuid4, uuid7

from taskqueue.core.rota import AGEING, Look, Offer
from taskqueue.core.task import AttemptId, Lease, LeaseToken, TaskId
from taskqueue.store.columns import from_micros, to_micros
from taskqueue.store.dialect import Due, Leased, Leasing
from taskqueue.store.room import COLUMNS, JOINS, NAMES, PROJECTS, SOME_EMPTY, of_ring
from taskqueue.store.rows import leased_task, record
from taskqueue.store.schema import WAITING, ready, tasks
from taskqueue.store.sqlite_driver import Query, driver

_INSTANTS = [place for place, name in enumerate(NAMES) if name.endswith(("_at", "_until"))]
_DUE = f"""
    select {COLUMNS}
      from (select * from strands where look_at is not null and look_at <= ? order by look_at limit ?) as due
      {JOINS}
"""
_BLOCKED = f"""
    select {COLUMNS}
      from (select * from strands where project = ? and blocked_on = ? and look_at > ?
             order by turn_at - priority * {AGEING // timedelta(microseconds=1)} limit ?) as due
      {JOINS}
"""
_DUE_BY_PROJECT = f"""
    with recursive ring (project, place) as (
        select * from (
            select project, 1 from strands where look_at is not null and project > :after order by project limit 1)
        union all
        select (select later.project from strands as later
                 where later.look_at is not null and later.project > ring.project order by later.project limit 1),
               ring.place + 1
          from ring where ring.project is not null and ring.place < {PROJECTS}),
    level (priority) as (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))
    select {COLUMNS}, ring.project as ring
      from ring cross join level
      left join strands as due on due.rowid in (
            select rowid from strands
             where strands.project = ring.project and strands.priority = level.priority
               and strands.look_at is not null and strands.look_at <= :now
             order by strands.look_at limit :breadth)
      {JOINS}
     where ring.project is not null
"""
_WAITING = Query(
    select(
        literal_column("ready.rowid").label("place"),
        ready.c.task_id,
        ready.c.generation,
        ready.c.revision,
        ready.c.expires_at.label("live_until"),
        (ready.c.seq + 1).label("seq"),
        (ready.c.number + 1).label("number"),
        ready.c.charged,
        ready.c.lost,
        ready.c.deferred,
        ready.c.memory,
        *(column for column in tasks.c if column.name not in ("id", "expires_at")),
    )
    .join_from(ready, tasks, and_(tasks.c.id == ready.c.task_id, tasks.c.project == ready.c.project))
    .where(
        WAITING,
        ready.c.strand == bindparam("strand"),
        ready.c.project == bindparam("of_project"),
        ready.c.not_before <= bindparam("now"),
        ready.c.expires_at > bindparam("now"),
    )
    .order_by(ready.c.not_before)
    .limit(bindparam("limit"))
)
_LEASE = """
    update ready
       set lease_token = ?, attempt_id = ?, lease_until = ?, started_at = ?, worker = ?,
           number = number + 1, seq = seq + 1
     where rowid = ?
"""
_NEXT = """
    select min(not_before) from ready
     where lease_token is null and not held and strand = ? and project = ? and expires_at > ?
"""
_LOOK_AGAIN = """
    update strands set look_at = :at, turn_at = case when :waits then turn_at else :at end, blocked_on = :blocked_on
     where id = :strand and project = :project
"""


class SqliteClaims:
    """The SQLite answers to ``Claims``. The write transaction is the lock, and strands are woken without a detour."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    def enter(self, conn: Connection) -> datetime:  # noqa: ARG002 - it holds the database already
        return self._clock()

    def due(self, conn: Connection, *, now: datetime, limit: int) -> Due:
        found = driver(conn).execute(_DUE, (to_micros(now), limit)).fetchall()
        many = len(found) >= limit
        return Due([] if many else _records(NAMES, found), many=many, folded=True)

    def due_by_project(self, conn: Connection, *, after: str, now: datetime, breadth: int) -> tuple[list[Any], str]:
        bound = {"after": after, "now": to_micros(now), "breadth": breadth}
        return of_ring(_records((*NAMES, "ring"), driver(conn).execute(_DUE_BY_PROJECT, bound)))

    def blocked(self, conn: Connection, limits: Mapping[tuple[str, str], int], *, now: datetime) -> list[Any]:
        raw, start = driver(conn), to_micros(now)
        found: list[Any] = []
        for (project, name), slots in limits.items():
            found += _records(NAMES, raw.execute(_BLOCKED, (project, name, start, slots + SOME_EMPTY)))
        return found

    def lease(self, conn: Connection, offers: Sequence[Offer], *, limit: int, leasing: Leasing) -> Leased:
        start, until = to_micros(leasing.now), to_micros(leasing.until)
        leased: Leased = []
        changes = []
        for offer in offers:
            place, left = offer.place, limit - len(leased)
            bound = {"strand": place.strand, "of_project": place.project, "now": start, "limit": min(offer.quota, left)}
            for row in _WAITING.all(conn, bound) if left else ():
                lease = Lease(row.project, TaskId(row.task_id), LeaseToken(uuid4()), AttemptId(uuid7()))
                task = leased_task(row, lease, started_at=leasing.now, worker=leasing.worker)
                leased.append((place.strand, task))
                changes.append((lease.token.bytes, lease.attempt_id.bytes, until, start, leasing.worker, row.place))
        driver(conn).executemany(_LEASE, changes)
        return leased

    def look_again(self, conn: Connection, looks: Sequence[Look], *, now: datetime) -> None:
        raw, start = driver(conn), to_micros(now)
        changes = []
        for look in looks:
            place, at, blocked_on = look.place, to_micros(look.at) if look.at is not None else None, look.blocked_on
            if look.drained:
                (due,) = raw.execute(_NEXT, (place.strand, place.project, start)).fetchone()
                at = None if due is None else max(due, at or due)
                blocked_on = None if due is None or due > start else blocked_on
            change = {"at": at, "waits": look.waits, "blocked_on": blocked_on}
            changes.append({**change, "strand": place.strand, "project": place.project})
        raw.executemany(_LOOK_AGAIN, changes)


def _records(names: tuple[str, ...], found: Iterable[Any]) -> list[Any]:
    make = record(names)._make
    return [make(_with_instants(row)) for row in found]


def _with_instants(row: Sequence[Any]) -> list[Any]:
    values = list(row)
    for place in _INSTANTS:
        if values[place] is not None:
            values[place] = from_micros(values[place])
    return values
