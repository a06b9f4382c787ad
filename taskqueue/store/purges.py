"""Purge: every waiting task of a queue or a flow key is cancelled, oldest first; what runs is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select

from taskqueue.core import lifecycle
from taskqueue.core.task import WEBHOOK_QUEUE, Kind, TaskId, TaskState
from taskqueue.store import loading
from taskqueue.store.bulk import Portion, Step
from taskqueue.store.database import Database
from taskqueue.store.dialect import Lane
from taskqueue.store.schema import WAITING, ready
from taskqueue.store.settlements import settle
from taskqueue.store.stats import strands_with

_SCAN = 5_000  # living tasks that one step looks at: between those of this queue lie those of others
_NIL = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The waiting tasks of a queue or of a flow key; one of the two is given."""

    queue: str | None = None
    flow_key: str | None = None


def count(conn: Connection, project: str, wanted: Waiting) -> int:
    """How many wait."""
    asked = {"of_project": project, "of_queue": wanted.queue, "of_flow_key": wanted.flow_key}
    found: int = conn.execute(_HELD_IN_QUEUE if wanted.queue is not None else _HELD_WITH_FLOW_KEY, asked).scalar_one()
    webhooks = {id_ for ids in strands_with(conn, project, queue=WEBHOOK_QUEUE) for id_ in ids}
    for ids in strands_with(conn, project, queue=wanted.queue, flow_key=wanted.flow_key):
        # Told apart by their strands and not by their kind, which is in no index: there may be a million rows to count.
        its = [id_ for id_ in ids if id_ not in webhooks]
        found += conn.execute(_WAITING_IN, {"of_project": project, "strands": its}).scalar_one()
    return found


def step(conn: Connection, database: Database, wanted: Waiting, portion: Portion) -> Step:
    """Cancel a portion of what was submitted before the purge began. What cannot be cancelled stops no other."""
    asked = {"of_project": portion.project, "after": portion.cursor or _NIL, "before": portion.operation_id}
    living = conn.execute(_LIVING, {**asked, "scan": _SCAN}).all()
    fitting = [place for place, row in enumerate(living) if _fits(row, wanted)]
    seen = fitting[portion.limit] if len(fitting) > portion.limit else len(living)
    waiting = [living[place] for place in fitting[: portion.limit]]
    results = _cancel(conn, database, waiting, portion)
    last = living[seen - 1].task_id if living else None
    if len(results) < len(waiting):  # time was up
        last = waiting[len(results) - 1].task_id
    elif len(living) < _SCAN and seen == len(living):
        last = None
    return Step(results.count(True), results.count(False), last)


def _fits(row: Any, wanted: Waiting) -> bool:
    its = (row.queue, wanted.queue) if wanted.queue is not None else (row.flow_key, wanted.flow_key)
    return row.lease_token is None and its[0] == its[1]


def _cancel(conn: Connection, database: Database, waiting: Sequence[Any], portion: Portion) -> Sequence[bool | None]:
    """For each whether it was cancelled, ``None`` for what has started or ended meanwhile: all at once or, where that
    fails, one by one."""
    project, ids = portion.project, [TaskId(row.task_id) for row in waiting]
    try:
        with conn.begin_nested():
            return _cancel_all(conn, database, project, ids)
    except Exception as error:
        if database.dialect.transient(error):
            raise
    # All lanes before any row, as every other holder of both takes them.
    lanes = [Lane(project, row.queue, row.ordering_key) for row in waiting if row.ordering_key is not None]
    database.dialect.lock_lanes(conn, lanes)
    return portion.each(ids, lambda id_: _cancel_one(conn, database, project, id_))


def _cancel_one(conn: Connection, database: Database, project: str, task_id: TaskId) -> bool | None:
    try:
        with conn.begin_nested():
            return _cancel_all(conn, database, project, [task_id])[0]
    except Exception as error:
        if database.dialect.transient(error):
            raise
        return False


def _cancel_all(conn: Connection, database: Database, project: str, ids: Sequence[TaskId]) -> list[bool | None]:
    found, now = loading.load(conn, project, ids, with_body=False), database.now(conn)
    waiting = [task for task in found.values() if task.state is TaskState.QUEUED]
    stale = settle(conn, database, [lifecycle.cancel(task, now=now) for task in waiting])
    cancelled = {task.id for task in waiting} - stale
    return [True if id_ in cancelled else None for id_ in ids]


_OF_PROJECT, _COUNT = ready.c.project == bindparam("of_project"), select(func.count()).select_from(ready)
_WAITING_IN = _COUNT.where(WAITING, _OF_PROJECT, ready.c.strand.in_(bindparam("strands", expanding=True)))
_HELD = _COUNT.where(_OF_PROJECT, ready.c.ordering_key.is_not(None), ready.c.held)
_HELD_IN_QUEUE = _HELD.where(ready.c.queue == bindparam("of_queue"))
_HELD_WITH_FLOW_KEY = _HELD.where(ready.c.flow_key == bindparam("of_flow_key"))
_LIVING = (
    select(ready.c.task_id, ready.c.queue, ready.c.flow_key, ready.c.ordering_key, ready.c.lease_token)
    .where(
        ready.c.kind == Kind.TASK,  # whoever was promised a webhook gets it, even if its host is purged
        _OF_PROJECT,
        ready.c.task_id > bindparam("after"),
        ready.c.task_id < bindparam("before"),
    )
    .order_by(ready.c.task_id)
    .limit(bindparam("scan"))
)
