"""Parking: what waits behind a dead task of its ordering key is set aside with it, a batch at a time.

A row of ``order_blocks`` says how far, and holds the lane until the last of them is parked; whoever finds it goes on
from wherever the lane stands, so that nothing is done twice and nothing is left out, whatever dies in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, select, update
from uuid_utils.compat import uuid7

from taskqueue.core import lifecycle
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import DeadLetterId, TaskId, TaskState
from taskqueue.store import follow_ups, lanes, loading
from taskqueue.store.database import Database
from taskqueue.store.dialect import Lane
from taskqueue.store.lanes import BLOCKS_IN_LANE, IN_LANE, bound
from taskqueue.store.schema import order_blocks, ready
from taskqueue.store.settlements import settle


@dataclass(frozen=True, slots=True)
class Parked:
    """What one step came to."""

    behind: TaskId  # the dead task for whose sake
    queue: str
    count: int
    done: bool  # none is left, and the lane goes on


def step(conn: Connection, database: Database, *, limit: int) -> Parked | None:
    """Park up to ``limit`` tasks of the lane that was worked on longest ago; ``None`` if there is nothing to park."""
    row = conn.execute(_NEXT).one_or_none()
    if row is None:
        return None
    lane = Lane(row.project, row.queue, row.ordering_key)
    settlements = list(_settlements(conn, database, row, _waiting(conn, lane, row, limit)))
    # All lanes at once and before any row, as every other holder of both takes them.
    database.dialect.lock_lanes(conn, {lane} | follow_ups.lanes_of(settlements))
    if conn.execute(_STILL, _of(lane, row)).scalar() != row.last_letter:
        return Parked(TaskId(row.task_id), row.queue, 0, done=False)  # another worker was here, or the key is unblocked
    count = _write(conn, database, settlements)
    done = not _waiting(conn, lane, row, 1)
    if done:
        conn.execute(_DROP, _of(lane, row))
        lanes.advance(conn, database, [lane])
    elif settlements:
        last = settlements[-1].task.dead_letter_id
        conn.execute(_NOTE, {**_of(lane, row), "letter": last})
    return Parked(TaskId(row.task_id), row.queue, count, done)


def _waiting(conn: Connection, lane: Lane, row: Any, limit: int) -> Sequence[UUID]:
    span = {"after": row.position, "until": row.last_position, "limit": limit}
    return conn.execute(_WAITING, {**bound(lane), **span}).scalars().all()


def _settlements(conn: Connection, database: Database, row: Any, ids: Sequence[UUID]) -> Iterator[Settlement]:
    """With dead letters whose ids are in the order of the lane, whichever worker's clock they are minted by: in that
    order a bulk redrive brings them back."""
    found, now = loading.load(conn, row.project, [TaskId(id_) for id_ in ids]), database.now(conn)
    last: UUID = row.last_letter
    for id_ in ids:
        task = found.get(TaskId(id_))
        if task is not None and task.state is TaskState.QUEUED:
            last = max(uuid7(), UUID(int=last.int + 1))
            yield lifecycle.park(replace(task, dead_letter_id=DeadLetterId(last)), now=now)


def _write(conn: Connection, database: Database, settlements: Sequence[Settlement]) -> int:
    """How many were parked: all at once or, where that fails, one by one. Those that cannot be are tried again by the
    next step; when none can be the error is raised."""
    try:
        with conn.begin_nested():
            return len(settlements) - len(settle(conn, database, settlements))
    except Exception as error:
        if database.dialect.transient(error) or len(settlements) == 1:
            raise
    count, errors = 0, list[Exception]()
    for settlement in settlements:
        try:
            with conn.begin_nested():
                count += 1 - len(settle(conn, database, [settlement]))
        except Exception as error:
            if database.dialect.transient(error):
                raise
            errors.append(error)
    if errors and not count:
        raise errors[0]
    return count


def _of(lane: Lane, row: Any) -> dict[str, Any]:
    return {**bound(lane), "of_position": row.position}


_NEXT = (
    select(order_blocks).where(order_blocks.c.last_position.is_not(None)).order_by(order_blocks.c.last_letter).limit(1)
)
_WAITING = (
    select(ready.c.task_id)
    .where(
        IN_LANE,
        ready.c.held.is_(True),
        ready.c.lane_position > bindparam("after"),
        ready.c.lane_position <= bindparam("until"),
    )
    .order_by(ready.c.lane_position)
    .limit(bindparam("limit"))
)
_IT = (BLOCKS_IN_LANE, order_blocks.c.position == bindparam("of_position"))
_STILL = select(order_blocks.c.last_letter).where(*_IT)
_DROP = delete(order_blocks).where(*_IT)
_NOTE = update(order_blocks).where(*_IT).values(last_letter=bindparam("letter"))
