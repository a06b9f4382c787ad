"""Ordering keys: the tasks of one key run one at a time, in the order their submits were committed.

The row with the smallest position heads its lane and is the only one not ``held``. Whoever adds to a lane or takes its
head away holds the lane's lock until the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, update

from taskqueue.core.task import Task
from taskqueue.store import strands
from taskqueue.store.database import Database
from taskqueue.store.dialect import Dialect, Lane
from taskqueue.store.schema import ready


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
    tails = {lane: conn.execute(_TAIL, _bound(lane)).scalar() for lane in lanes}
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


def advance(conn: Connection, database: Database, lanes: Iterable[Lane]) -> None:
    """Let the head of each locked lane go, once the former head is gone."""
    released = [row for lane in lanes for row in conn.execute(_RELEASE, _bound(lane))]
    strands.wake_all(conn, database, [(row.project, row.strand, row.not_before) for row in released])


def _bound(lane: Lane) -> dict[str, Any]:
    return {"lane_project": lane.project, "lane_queue": lane.queue, "lane_key": lane.key}


_IN_LANE = and_(
    ready.c.project == bindparam("lane_project"),
    ready.c.queue == bindparam("lane_queue"),
    ready.c.ordering_key == bindparam("lane_key"),
)
_TAIL = select(func.max(ready.c.lane_position)).where(_IN_LANE)
_HEAD = select(ready.c.task_id).where(_IN_LANE).order_by(ready.c.lane_position).limit(1).scalar_subquery()
_RELEASE = (
    update(ready)
    .where(ready.c.task_id == _HEAD, _IN_LANE, ready.c.held.is_(True))
    .values(held=False)
    .returning(ready.c.project, ready.c.strand, ready.c.not_before)
)
