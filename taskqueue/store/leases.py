"""Leases: who may settle a task, and for how long. All that moves a task into ``running``, keeps or loses it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, select

from taskqueue.core.task import Lease, Task, TaskId, TaskState
from taskqueue.store import lanes, loading, rows
from taskqueue.store.claim import Taken, Wanted, take
from taskqueue.store.database import Database
from taskqueue.store.dialect import Changes, Hint, Lane
from taskqueue.store.room import Share
from taskqueue.store.schema import LEASED, UNLEASED, ready, strands, tasks
from taskqueue.store.settlements import settle
from taskqueue.store.strands import freed

__all__ = ["Claimed", "claim", "expired", "extend", "lapsed", "let_go", "settle"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """Tasks that now run under a lease of their own. ``next_due`` is set when fewer came than were asked for: the span
    until there is something to look at, or ``None`` if nothing waits. ``after`` and ``at_share`` as ``claim.Taken``."""

    tasks: list[Task]
    next_due: timedelta | None
    after: str
    at_share: bool


def claim(
    database: Database,
    *,
    worker: str,
    limit: int,
    lease: timedelta,
    after: str = "",
    flow_cap: int | None = None,
    share: Share | None = None,
) -> Claimed:
    """Lease up to ``limit`` due tasks. Counted now: an attempt that kills its worker must be on record."""
    wanted = Wanted(worker, limit, lease, after, flow_cap, share)
    with database.begin() as conn:
        taken = take(conn, database, wanted)
        claimed = _as_sent(conn, taken.tasks)
        short = len(claimed) < limit
        next_due = timedelta(0) if taken.more else _next_due(conn, database, taken) if short else None
    return Claimed(claimed, next_due, taken.after, taken.at_share)


def extend(conn: Connection, database: Database, leases: Sequence[Lease], *, lease: timedelta) -> set[Lease]:
    """Keep each lease for another span of ``lease``; return the stale ones, whose tasks have moved on."""
    held = database.dialect.extend(conn, leases, until=database.now(conn) + lease) if leases else set()
    return {each for each in leases if each.token not in held}


def let_go(conn: Connection, database: Database, leases: Sequence[Lease]) -> None:
    """A cancelled attempt is off the wire: drop its tombstone and let its lane go on. No other row is touched."""
    stones = [_of_lease(lease) for lease in sorted(leases, key=lambda each: each.task_id)]
    found = [row for stone in stones for row in conn.execute(_TOMBSTONE, stone)]
    # All at once and before the rows, as every other holder of lanes takes them.
    left = {Lane(row.project, row.queue, row.ordering_key) for row in found if row.ordering_key is not None}
    database.dialect.lock_lanes(conn, left)
    if found:
        conn.execute(_DROP, stones)
        slots = Changes(freed=freed((row.project, row.queue, row.flow_key, row.origin) for row in found))
        if database.dialect.write(conn, slots):
            database.hint(conn, Hint.READY)
    lanes.advance(conn, database, left)


def lapsed(conn: Connection, database: Database, *, limit: int) -> list[Task]:
    """Tasks whose lease has run out, the longest dead first. A cancelled one is for ``let_go``."""
    found = rows.records(conn.execute(_LAPSED, {"now": database.now(conn), "limit": limit}))
    tombstones = {row.task_id for row in found if row.cancelled}
    lost = _as_sent(conn, [rows.claimed_task(row) for row in found])
    return [replace(task, state=TaskState.CANCELLED) if task.id in tombstones else task for task in lost]


def expired(conn: Connection, database: Database, *, limit: int) -> list[Task]:
    """Waiting tasks past their expiry, each with its newest closed attempt."""
    found = conn.execute(_EXPIRED, {"now": database.now(conn), "limit": limit}).all()
    ids: defaultdict[str, list[TaskId]] = defaultdict(list)
    for row in found:
        ids[row.project].append(TaskId(row.task_id))
    return [task for project, group in ids.items() for task in loading.load(conn, project, group).values()]


def _of_lease(lease: Lease) -> dict[str, Any]:
    return {"of_project": lease.project, "of_task": lease.task_id, "of_attempt": lease.attempt_id}


def _as_sent(conn: Connection, running: list[Task]) -> list[Task]:
    """The tasks with what an edited redrive changed; most claims hold none and ask nothing."""
    edited = [task for task in running if task.revision is not None]
    if not edited:
        return running
    changed: dict[TaskId, Task] = {}
    for project in {task.spec.project for task in edited}:
        changed |= loading.as_sent(conn, project, [task for task in edited if task.spec.project == project])
    return [changed.get(task.id, task) for task in running]


def _next_due(conn: Connection, database: Database, taken: Taken) -> timedelta | None:
    # What this worker's own share keeps from it stays due, for others. To look at it again at once would be in vain.
    mine = _NEXT_DUE.where(strands.c.look_at > taken.now) if taken.at_share else _NEXT_DUE
    earliest = conn.execute(mine).scalar()
    return None if earliest is None else max(timedelta(0), earliest - database.now(conn))


# The first, not the least: PostgreSQL may look for that in all entries of another index, as long as they seem few.
_NEXT_DUE = select(strands.c.look_at).where(strands.c.look_at.is_not(None)).order_by(strands.c.look_at).limit(1)
_OF_LEASE = (
    ready.c.project == bindparam("of_project"),
    ready.c.task_id == bindparam("of_task"),
    ready.c.attempt_id == bindparam("of_attempt"),
    ready.c.cancelled.is_(True),
)
_TOMBSTONE = select(ready.c.project, ready.c.queue, ready.c.flow_key, ready.c.origin, ready.c.ordering_key).where(
    *_OF_LEASE
)
_DROP = delete(ready).where(*_OF_LEASE)


def _joined(*more: Any) -> Select[Any]:
    hot = [column for column in ready.c if column.name not in tasks.c]
    return (
        select(*hot, ready.c.expires_at.label("live_until"), tasks)
        .join_from(ready, tasks, and_(tasks.c.project == ready.c.project, tasks.c.id == ready.c.task_id))
        .where(*more)
    )


_LAPSED = (
    _joined(LEASED, ready.c.lease_until <= bindparam("now")).order_by(ready.c.lease_until).limit(bindparam("limit"))
)
_EXPIRED = (
    select(ready.c.project, ready.c.task_id)
    .where(UNLEASED, ready.c.expires_at <= bindparam("now"))
    .order_by(ready.c.expires_at)
    .limit(bindparam("limit"))
)
