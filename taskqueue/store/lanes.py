"""Ordering keys: the tasks of one key run one at a time, in the order their submits were committed.

The row with the smallest position heads its lane and is the only one not ``held``. Where a dead task blocks the lane it
keeps its place in ``order_blocks``, and nothing behind that place is let go. Whoever adds to a lane, or takes its head
or such a place away, holds the lane's lock until the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, union_all

from taskqueue.core.task import Task
from taskqueue.store import strands
from taskqueue.store.database import Database
from taskqueue.store.dialect import Dialect, Lane
from taskqueue.store.schema import order_blocks, ready


@dataclass(frozen=True, slots=True)
class Placed:
    """A task with its place in the lane; both unset for a task without an ordering key."""

    task: Task
    position: int | None


def lane_of(task: Task) -> Lane | None:
    """The lane a task runs in, if it has one."""
    spec = task.spec
    return None if spec.ordering_key is None else Lane(spec.project, spec.queue, spec.ordering_key)


def place(conn: Connection, dialect: Dialect, tasks: Sequence[Task]) -> list[Placed]:
    """Put each task at the tail of its lane, behind all that was committed before."""
    lanes = {lane for task in tasks if (lane := lane_of(task)) is not None}
    dialect.lock_lanes(conn, lanes)
    tails = {lane: conn.execute(_TAIL, bound(lane)).scalar() for lane in lanes}
    placed = []
    for task in tasks:
        lane = lane_of(task)
        if lane is None:
            placed.append(Placed(task, None))
            continue
        tail = tails[lane]
        tails[lane] = position = (tail or 0) + 1
        placed.append(Placed(replace(task, held=tail is not None), position))
    return placed


def place_back(conn: Connection, task: Task, lane: Lane, *, position: int) -> Placed:
    """Put a task that was redriven where it stood when it died, before all that waits for it; its lane is locked."""
    before = conn.execute(_BEFORE, {**bound(lane), "position": position}).scalar()
    return Placed(replace(task, held=bool(before)), position)


def advance(conn: Connection, database: Database, lanes: Iterable[Lane]) -> None:
    """Let the head of each locked lane go, once the former head is gone."""
    woken: dict[tuple[str, int | None], datetime] = {}
    for project, strand, at in database.dialect.release(conn, list(lanes)):
        woken[project, strand] = min(at, woken.get((project, strand), at))
    strands.wake_all(conn, database, [(*where, at) for where, at in woken.items()])


def bound(lane: Lane) -> dict[str, Any]:
    """The lane as ``IN_LANE`` and ``BLOCKS_IN_LANE`` name it."""
    return {"lane_project": lane.project, "lane_queue": lane.queue, "lane_key": lane.key}


IN_LANE = and_(
    ready.c.project == bindparam("lane_project"),
    ready.c.queue == bindparam("lane_queue"),
    ready.c.ordering_key == bindparam("lane_key"),
)
BLOCKS_IN_LANE = and_(
    order_blocks.c.project == bindparam("lane_project"),
    order_blocks.c.queue == bindparam("lane_queue"),
    order_blocks.c.ordering_key == bindparam("lane_key"),
)
# Behind what is still to be parked as well: who comes now is no part of that.
_LAST_PLACE = func.max(func.coalesce(order_blocks.c.last_position, order_blocks.c.position))
_TAILS = union_all(
    select(func.max(ready.c.lane_position).label("position")).where(IN_LANE),
    select(_LAST_PLACE).where(BLOCKS_IN_LANE),
).subquery()
_TAIL = select(func.max(_TAILS.c.position))
_BEFORE = select(
    or_(
        exists(select(1).where(IN_LANE, ready.c.lane_position < bindparam("position"))),
        exists(select(1).where(BLOCKS_IN_LANE, order_blocks.c.position < bindparam("position"))),
    )
)
