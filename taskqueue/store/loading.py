"""Whole tasks by id, put together from the tables that each hold a part of their life."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, select

from taskqueue.core.task import AttemptId, Lease, LeaseToken, Task, TaskId, TaskState
from taskqueue.store import rows
from taskqueue.store.schema import attempts, endings, ready, revisions, tasks


def load(conn: Connection, project: str, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
    """The tasks of ``project`` among ``ids`` as they stand, each with its newest closed attempt."""
    if not ids:
        return {}
    key = {"of_project": project, "ids": list(ids)}
    living = {row.task_id: row for row in conn.execute(_LIVING, key)}
    ended = {row.task_id: row for row in conn.execute(_ENDED, key)}
    latest = {row.task_id: row for row in conn.execute(_LATEST_ATTEMPT, key)}
    found: dict[TaskId, Task] = {}
    for row in conn.execute(_TASKS, key):
        alive, end = living.get(row.id), ended.get(row.id)
        assert alive is not None or end is not None, "a task is either alive or ended"
        task = _living(row, alive) if alive is not None and not alive.cancelled else _ended(row, end)
        last = latest.get(row.id)
        if last is not None and last.generation == task.progress.generation:
            task = replace(task, last_attempt=rows.attempt_of(last))
        found[task.id] = task
    return _with_revisions(conn, project, found)


def at_generations(conn: Connection, project: str, generations: Mapping[TaskId, int]) -> dict[TaskId, Task]:
    """Ended tasks as they stood when the named generation ended."""
    if not generations:
        return {}
    key = {"of_project": project, "ids": list(generations)}
    ends = {row.task_id: row for row in conn.execute(_ALL_ENDED, key) if row.generation == generations[row.task_id]}
    last: dict[TaskId, Any] = {}
    for row in conn.execute(_ALL_ATTEMPTS, key):  # in order, so that the last of the generation stays
        if row.generation == generations[row.task_id]:
            last[row.task_id] = row
    found: dict[TaskId, Task] = {}
    for row in conn.execute(_TASKS, key):
        task = _ended(row, ends[row.id])
        found[task.id] = replace(task, last_attempt=rows.attempt_of(last[task.id])) if task.id in last else task
    return _with_revisions(conn, project, found)


def as_sent(conn: Connection, project: str, redriven: Iterable[Task]) -> dict[TaskId, Task]:
    """Those tasks that an edited redrive changed, each as it is sent in its generation."""
    by_id = {task.id: task for task in redriven}
    changed: dict[TaskId, Task] = {}
    for row in conn.execute(_REVISIONS, {"of_project": project, "ids": list(by_id)}):  # oldest first: the newest stays
        task = by_id[row.task_id]
        if row.generation <= task.progress.generation:
            changed[task.id] = replace(task, spec=rows.revised(task.spec, row), revision=row.generation)
    return changed


def _with_revisions(conn: Connection, project: str, found: dict[TaskId, Task]) -> dict[TaskId, Task]:
    later = [task for task in found.values() if task.progress.generation > 1]
    return found | as_sent(conn, project, later) if later else found


def _living(row: Any, alive: Any) -> Task:
    running = alive.lease_token is not None
    lease = Lease(row.project, row.id, LeaseToken(alive.lease_token), AttemptId(alive.attempt_id)) if running else None
    return replace(
        _bare(row),
        state=TaskState.RUNNING if running else TaskState.QUEUED,
        progress=rows.progress_of(alive),
        not_before=None if running else alive.not_before,
        lease=lease,
        started_at=alive.started_at,
        worker=alive.worker,
        held=alive.held,
        expires_at=alive.expires_at,
        revision=alive.revision,
    )


def _ended(row: Any, end: Any) -> Task:
    ending, progress = rows.ending_of(end)
    return replace(_bare(row), state=ending.state, progress=progress, ending=ending)


def _bare(row: Any) -> Task:
    return Task(
        id=row.id,
        spec=rows.spec_of(row),
        created_at=row.created_at,
        run_at=row.run_at,
        expires_at=row.expires_at,
        state=TaskState.QUEUED,
    )


def _of(table: Any, id_column: Any) -> Any:
    return and_(table.c.project == bindparam("of_project"), id_column.in_(bindparam("ids", expanding=True)))


def _newest(table: Any, *order: Any) -> Select[Any]:
    """The newest row of each task."""
    rank = func.row_number().over(partition_by=table.c.task_id, order_by=[column.desc() for column in order])
    ranked = select(table, rank.label("rank")).where(_of(table, table.c.task_id)).subquery()
    return select(ranked).where(ranked.c.rank == 1)


_TASKS = select(tasks).where(_of(tasks, tasks.c.id))
_LIVING = select(ready).where(_of(ready, ready.c.task_id))
_ENDED = _newest(endings, endings.c.generation)
_LATEST_ATTEMPT = _newest(attempts, attempts.c.generation, attempts.c.number)
_ALL_ENDED = select(endings).where(_of(endings, endings.c.task_id))
_ALL_ATTEMPTS = (
    select(attempts).where(_of(attempts, attempts.c.task_id)).order_by(attempts.c.generation, attempts.c.number)
)
_REVISIONS = select(revisions).where(_of(revisions, revisions.c.task_id)).order_by(revisions.c.generation)
