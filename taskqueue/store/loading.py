"""Whole tasks by id, put together from the tables that each hold a part of their life."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, case, func, null, select, true, tuple_

from taskqueue.core.task import (
    Attempt,
    AttemptId,
    AttemptKind,
    DeadLetterId,
    Lease,
    LeaseToken,
    Task,
    TaskId,
    TaskState,
)
from taskqueue.store import rows
from taskqueue.store.schema import attempts, dead_letters, endings, ready, revisions, tasks

MOST = 1000  # of one list: a task that is deferred for days has many attempts


def load(conn: Connection, project: str, ids: Sequence[TaskId], *, with_body: bool = True) -> dict[TaskId, Task]:
    """The tasks of ``project`` among ``ids`` as they stand, each with its last attempt.

    That is the newest closed one which called the target, or else the one whose asking found that the work was done.
    Without bodies, which a list has no use for, ``spec.body`` is ``None`` whatever was submitted.
    """
    if not ids:
        return {}
    key = {"of_project": project, "ids": list(ids)}
    living = {row.task_id: row for row in conn.execute(_LIVING, key)}
    ended = {row.task_id: row for row in conn.execute(_ENDED, key)}
    found: dict[TaskId, Task] = {}
    for row in conn.execute(_TASKS[with_body], key):
        alive, end = living.get(row.id), ended.get(row.id)
        assert alive is not None or end is not None, "a task is either alive or ended"
        task = _living(row, alive) if alive is not None and not alive.cancelled else _ended(row, end)
        found[task.id] = task
    found = _with_last_attempts(conn, project, found, conn.execute(_LATEST_ATTEMPT, key).all())
    return _with_revisions(conn, project, _with_dead_letters(conn, project, found), with_body=with_body)


def at_generation(
    conn: Connection, project: str, ids: Sequence[TaskId], generation: int, *, with_body: bool
) -> dict[TaskId, Task]:
    """Tasks as they stood when ``generation`` of each of them ended; ``with_body`` as for ``load``."""
    if not ids:
        return {}
    key = {"of_project": project, "ids": list(ids), "of_generation": generation}
    ends = {row.task_id: row for row in conn.execute(_END_OF_GENERATION, key)}
    found = {TaskId(row.id): _ended(row, ends[row.id]) for row in conn.execute(_TASKS[with_body], key)}
    found = _with_last_attempts(conn, project, found, conn.execute(_LAST_OF_GENERATION, key).all())
    return _with_revisions(conn, project, found, with_body=with_body)


def as_sent(conn: Connection, project: str, redriven: Iterable[Task], *, with_body: bool = True) -> dict[TaskId, Task]:
    """Those tasks that an edited redrive changed, each as it is sent in its generation."""
    by_id = {task.id: task for task in redriven}
    changed: dict[TaskId, Task] = {}
    key = {"of_project": project, "ids": list(by_id)}
    for row in conn.execute(_REVISIONS[with_body], key):  # oldest first: the newest stays
        task = by_id[row.task_id]
        if row.generation <= task.progress.generation:
            changed[task.id] = replace(task, spec=rows.revised(task.spec, row), revision=row.generation)
    return changed


def with_last_calls(conn: Connection, project: str, asking: Iterable[Task]) -> dict[TaskId, Task]:
    """The tasks, all with somebody asked about their last call, each with that call as its last attempt."""
    by_id = {task.id: task for task in asking}
    calls = conn.execute(_LATEST_CALL, {"of_project": project, "ids": list(by_id)}) if by_id else ()
    for row in calls:
        by_id[row.task_id] = replace(by_id[row.task_id], last_attempt=rows.attempt_of(row))
    return by_id


def attempts_of_generation(
    conn: Connection, project: str, tasks: Iterable[Task], *, max_excerpts: int
) -> dict[TaskId, list[Attempt]]:
    """The closed attempts of each task's generation, oldest first; of more than a thousand, the newest thousand.

    Where what they keep of responses is longer than ``max_excerpts`` together, only the status codes come.
    """
    generations = [(task.id, task.progress.generation) for task in tasks]
    found: dict[TaskId, list[Attempt]] = {task_id: [] for task_id, _ in generations}
    if generations:
        key = {"of_project": project, "ids": list(found), "generations": generations}
        for row in conn.execute(_OF_GENERATIONS, {**key, "max_excerpts": max_excerpts, "most": MOST}):
            found[TaskId(row.task_id)].append(rows.attempt_of(row))
    return found


def _with_last_attempts(
    conn: Connection, project: str, found: dict[TaskId, Task], newest: Sequence[Any]
) -> dict[TaskId, Task]:
    """``found``, where each task has its last attempt; ``newest`` holds the newest row of each that has any."""
    asking: list[Task] = []
    for row in newest:
        task = found[row.task_id]
        if row.generation != task.progress.generation:
            continue
        if row.kind == AttemptKind.CALL or _is_result(row, task):
            found[task.id] = replace(task, last_attempt=rows.attempt_of(row))
        else:
            asking.append(task)
    return found | with_last_calls(conn, project, asking)


def _is_result(attempt: Any, task: Task) -> bool:
    return task.state is TaskState.SUCCEEDED and task.ending is not None and task.ending.attempt_id == attempt.id


def _with_dead_letters(conn: Connection, project: str, found: dict[TaskId, Task]) -> dict[TaskId, Task]:
    """``found``, where each dead task names the dead letter that can be redriven, if there is one."""
    dead = {id_: task for id_, task in found.items() if task.state is TaskState.DEAD}
    if not dead:
        return found
    for row in conn.execute(_DEAD_LETTERS, {"of_project": project, "ids": list(dead)}):
        task = dead[row.task_id]
        if row.generation == task.progress.generation:
            found[task.id] = replace(task, dead_letter_id=DeadLetterId(row.id))
    return found


def _with_revisions(
    conn: Connection, project: str, found: dict[TaskId, Task], *, with_body: bool
) -> dict[TaskId, Task]:
    later = [task for task in found.values() if task.progress.generation > 1]
    return found | as_sent(conn, project, later, with_body=with_body) if later else found


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
    return replace(_bare(row), state=ending.state, progress=progress, ending=ending, expires_at=end.expires_at)


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


def _columns(table: Any, *, with_body: bool) -> list[Any]:
    """All columns of ``table``, or NULL for the body."""
    return [null().label("body") if column.name == "body" and not with_body else column for column in table.c]


def _newest(table: Any, *order: Any, among: Sequence[Any] = ()) -> Select[Any]:
    """The newest row of each task. An index holds all that is ranked: of the table, only what is found is read."""
    key = (table.c.task_id, *order)
    rank = func.row_number().over(partition_by=table.c.task_id, order_by=[column.desc() for column in order])
    ranked = select(*key, rank.label("rank")).where(_of(table, table.c.task_id), *among).subquery()
    same = [column == ranked.c[column.name] for column in key]
    mine = table.c.project == bindparam("of_project")
    return select(table).join_from(ranked, table, and_(mine, *same)).where(ranked.c.rank == 1)


_TASKS = {body: select(*_columns(tasks, with_body=body)).where(_of(tasks, tasks.c.id)) for body in (True, False)}
_LIVING = select(ready).where(_of(ready, ready.c.task_id))
_ENDED = _newest(endings, endings.c.generation)
_LATEST_ATTEMPT = _newest(attempts, attempts.c.generation, attempts.c.number)
_LATEST_CALL = _newest(attempts, attempts.c.generation, attempts.c.number, among=[attempts.c.kind == "call"])
_DEAD_LETTERS = select(dead_letters.c.id, dead_letters.c.task_id, dead_letters.c.generation).where(
    _of(dead_letters, dead_letters.c.task_id), dead_letters.c.redriven_at.is_(None)
)
_END_OF_GENERATION = select(endings).where(
    _of(endings, endings.c.task_id), endings.c.generation == bindparam("of_generation")
)
_LAST_OF_GENERATION = _newest(
    attempts,
    attempts.c.generation,
    attempts.c.number,
    among=[attempts.c.generation == bindparam("of_generation")],
)
_KEPT = func.coalesce(func.length(attempts.c.response_body), 0) + func.coalesce(
    func.length(attempts.c.response_headers), 0
)
_SIZED = (
    select(
        attempts.c.id,
        func.row_number().over(partition_by=attempts.c.task_id, order_by=attempts.c.number.desc()).label("rank"),
        func.sum(_KEPT).over(partition_by=attempts.c.task_id).label("size"),
    )
    .where(
        _of(attempts, attempts.c.task_id),
        tuple_(attempts.c.task_id, attempts.c.generation).in_(bindparam("generations", expanding=True)),
    )
    .subquery()
)
_FITS = _SIZED.c.size <= bindparam("max_excerpts")
_OF_GENERATIONS = (
    select(
        *(column for column in attempts.c if not column.name.startswith("response_")),
        case((_FITS, attempts.c.response_headers)).label("response_headers"),
        case((_FITS, attempts.c.response_body)).label("response_body"),
        case((_FITS, attempts.c.response_truncated), else_=true()).label("response_truncated"),
    )
    .join_from(_SIZED, attempts, and_(attempts.c.project == bindparam("of_project"), attempts.c.id == _SIZED.c.id))
    .where(_SIZED.c.rank <= bindparam("most"))
    .order_by(attempts.c.number)
)
_REVISIONS = {
    body: select(*_columns(revisions, with_body=body))
    .where(_of(revisions, revisions.c.task_id))
    .order_by(revisions.c.generation)
    for body in (True, False)
}
