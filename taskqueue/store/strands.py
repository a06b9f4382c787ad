"""Strands: what waits with the same limits and the same priority, and when the claim should look at it.

Whoever makes a task claimable wakes its strand in the same transaction, so that the claim, which visits nothing but
strands, cannot overlook it. Only the claim puts a strand off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, select, text, update

from taskqueue.core.strand import blocked_on_flow, blocked_on_origin, blocked_on_queue, strand_id, strand_of
from taskqueue.core.task import Task, TaskSpec
from taskqueue.store.database import Database
from taskqueue.store.dialect import Changes, Hint
from taskqueue.store.schema import WAITING, flow_keys, queues, ready, strands, wakes

Row = dict[str, Any]


def wake_for(changes: Changes, waiting: Iterable[tuple[TaskSpec, datetime]]) -> None:
    """Have ``changes`` wake the strands of tasks that come to wait, each for its own instant; a strand that is not
    there yet is made from the row of its task."""
    due: dict[tuple[str, int], datetime] = {}
    for spec, at in waiting:
        key = (spec.project, strand_of(spec))
        due[key] = min(due.get(key, at), at)
    _wake(changes, due)


def startable(placed: Iterable[Task]) -> list[tuple[TaskSpec, datetime]]:
    """Those of new tasks that wait behind no other, each with when it may start."""
    return [(task.spec, task.not_before) for task in placed if task.not_before is not None and not task.held]


def freed(ended: Iterable[tuple[str, str, str, str]]) -> list[Row]:
    """The limits of which slots came free, by what ran until now: project, queue, flow key and origin of each."""
    count: Counter[tuple[str, str]] = Counter()
    for project, queue, flow_key, origin in ended:
        for name in (blocked_on_queue(queue), blocked_on_flow(flow_key), blocked_on_origin(origin)):
            count[project, name] += 1
    return [{"project": project, "blocked_on": name, "slots": slots} for (project, name), slots in count.items()]


def wake(
    conn: Connection,
    database: Database,
    project: str,
    *,
    queue: str | None = None,
    flow_key: str | None = None,
    origin: str | None = None,
) -> None:
    """The claim looks at every strand of them once this is committed: a limit was lifted."""
    named = {strands.c.queue: queue, strands.c.flow_key: flow_key, strands.c.origin: origin}
    wanted = [column == value for column, value in named.items() if value is not None]
    found = conn.execute(select(strands.c.id).where(strands.c.project == project, *wanted)).scalars().all()
    wake_all(conn, database, [(project, strand, database.now(conn)) for strand in found])


def wake_all(conn: Connection, database: Database, woken: Sequence[tuple[str, int | None, datetime]]) -> None:
    """The claim looks at each strand, by project and id, not later than then; without an id it is not placed yet."""
    wakes = [{"project": project, "strand": strand, "look_at": at} for project, strand, at in woken if strand]
    if wakes:
        database.dialect.write(conn, Changes(wakes=wakes))
        database.hint(conn, Hint.READY)


def place_older(conn: Connection, database: Database, *, limit: int) -> int:
    """Place up to ``limit`` waiting tasks that are in no strand, as an older version wrote them; return how many."""
    found = conn.execute(_UNPLACED, {"limit": limit}).all()
    placed = [(row.project, row.task_id, strand_id(row.project, *row[2:])) for row in found]
    if placed:
        conn.execute(_PLACE, [dict(zip(("of_project", "of_task", "strand"), each, strict=True)) for each in placed])
    now = database.now(conn)
    wake_all(conn, database, [(project, strand, now) for project, strand in {(each[0], each[2]) for each in placed}])
    return len(placed)


def wake_overlooked(conn: Connection, database: Database, *, limit: int) -> int:
    """Wake up to ``limit`` strands that hold a task and are asleep or not there, and return how many. Any at all is a
    fault of ours: the promise that nothing is lost must not hang on there being none."""
    now = database.now(conn)
    asleep = conn.execute(_OVERLOOKED, {"now": now, "limit": limit}).all()
    found = [*asleep, *conn.execute(_UNMADE, {"limit": limit - len(asleep)})]
    wake_all(conn, database, [(row.project, row.id, now) for row in found])
    return len(found)


def forget_empty(conn: Connection, *, limit: int) -> int:
    """Drop up to ``limit`` strands in which nothing waits; whoever comes next makes them again."""
    found = conn.execute(_EMPTY, {"limit": limit}).all()
    if found:
        conn.execute(_FORGET, [{"of_project": row.project, "of_id": row.id} for row in found])
    return len(found)


def _wake(changes: Changes, due: Mapping[tuple[str, int], datetime]) -> None:
    woken = [{"project": project, "strand": strand, "look_at": at} for (project, strand), at in due.items()]
    changes.wakes = [*changes.wakes, *woken]


_UNPLACED = (
    select(ready.c.project, ready.c.task_id, ready.c.queue, ready.c.flow_key, ready.c.origin, ready.c.priority)
    .where(WAITING, ready.c.strand.is_(None))
    .limit(bindparam("limit"))
)
_PLACE = (
    update(ready)
    .where(ready.c.project == bindparam("of_project"), ready.c.task_id == bindparam("of_task"))
    .values(strand=bindparam("strand"))
)
_WAITS = select(1).where(WAITING, ready.c.strand == strands.c.id, ready.c.project == strands.c.project)
_OVERLOOKED = (
    select(strands.c.project, strands.c.id)
    .where(
        strands.c.look_at.is_(None),
        exists(_WAITS.where(ready.c.expires_at > bindparam("now"))),  # the claim leaves the others to the upkeep
        ~exists(select(1).where(wakes.c.strand == strands.c.id)),  # no claim came by yet
        ~exists(
            select(1).where(queues.c.project == strands.c.project, queues.c.name == strands.c.queue, queues.c.paused)
        ),
        ~exists(
            select(1).where(
                flow_keys.c.project == strands.c.project, flow_keys.c.key == strands.c.flow_key, flow_keys.c.paused
            )
        ),
    )
    .limit(bindparam("limit"))
)
# The strands of what waits, found by leaping from each to the next in the index: there may be a million tasks.
_UNMADE = text("""
    with recursive known (id) as (
        select min(strand) from ready where lease_token is null and not held
        union all
        select (select min(strand) from ready where lease_token is null and not held and strand > known.id)
          from known where known.id is not null)
    select (select project from ready where strand = known.id and lease_token is null and not held limit 1) as project,
           known.id
      from known
     where known.id is not null
       and not exists (select 1 from strands where strands.id = known.id)
       and not exists (select 1 from wakes where wakes.strand = known.id)
     limit :limit
""")
_EMPTY = (
    select(strands.c.project, strands.c.id)
    .where(strands.c.look_at.is_(None), ~exists(_WAITS))
    .limit(bindparam("limit"))
)
_FORGET = delete(strands).where(
    strands.c.project == bindparam("of_project"), strands.c.id == bindparam("of_id"), strands.c.look_at.is_(None)
)
