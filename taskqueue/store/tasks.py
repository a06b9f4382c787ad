"""One task: look at it, call it off, pull it forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from taskqueue.core import lifecycle
from taskqueue.core.errors import Conflict, StoreUnavailable
from taskqueue.core.task import Attempt, Task, TaskId, TaskState
from taskqueue.store import loading, order_blocks, rows, settlements, strands
from taskqueue.store.database import Database
from taskqueue.store.schema import attempts as attempts_table
from taskqueue.store.schema import ready, tasks

_TRIES = 5


def get(conn: Connection, project: str, task_id: TaskId) -> Task | None:
    """The task as it stands, with its newest closed attempt; ``None`` if this project has no such task."""
    return loading.load(conn, project, [task_id]).get(task_id)


def attempts(conn: Connection, project: str, task_id: TaskId) -> list[tuple[int, Attempt]]:
    """The closed attempts, oldest first, each with its generation; of more than a thousand, the newest thousand."""
    found = conn.execute(_ATTEMPTS, {"of_project": project, "of_task": task_id}).all()
    return [(row.generation, rows.attempt_of(row)) for row in reversed(found)]


def webhooks(conn: Connection, project: str, task_id: TaskId) -> list[Task]:
    """The webhook tasks that tell of ``task_id``, in the order of what they tell, without bodies (``spec.body`` is
    ``None``); of more than a thousand, the newest thousand."""
    ids = conn.execute(_WEBHOOKS, {"of_project": project, "of_task": task_id}).scalars().all()
    found = loading.load(conn, project, [TaskId(id_) for id_ in ids], with_body=False)
    return [found[TaskId(id_)] for id_ in reversed(ids)]


def chain(conn: Connection, project: str, task_id: TaskId) -> list[Task] | None:
    """The task with all that follow from the same first one, oldest first, without bodies (``spec.body`` is ``None``);
    ``None`` if unknown. Of more than a thousand, the oldest thousand; those that retention took are missing."""
    root = conn.execute(_ROOT, {"of_project": project, "of_task": task_id}).scalar()
    if root is None:
        return None
    key = {"of_project": project, "of_root": root}
    ids = [TaskId(root), *(TaskId(id_) for id_ in conn.execute(_FOLLOWING, key).scalars())][: loading.MOST]
    found = loading.load(conn, project, ids, with_body=False)
    return [found[id_] for id_ in ids if id_ in found]


def ended(conn: Connection, waited_for: Sequence[tuple[str, TaskId]]) -> set[TaskId]:
    """Those (project, task id) that are no longer alive, unknown ones included."""
    alive: set[TaskId] = set()
    for project in {project for project, _ in waited_for}:
        ids = [id_ for owner, id_ in waited_for if owner == project]
        alive |= set(conn.execute(_ALIVE, {"of_project": project, "ids": ids}).scalars())
    return {id_ for _, id_ in waited_for} - alive


def cancel(conn: Connection, database: Database, project: str, task_id: TaskId) -> Task | None:
    """Call a task off: no attempt starts after this commits, and a running one can no longer settle.

    ``None`` if unknown; ``Conflict`` once it has ended.
    """
    for _ in range(_TRIES):
        task = get(conn, project, task_id)
        if task is None:
            return None
        if task.state.ended:
            raise Conflict(f"the task {_HAS_BECOME[task.state]}; only a waiting or running task can be cancelled")
        settlement = lifecycle.cancel(task, now=database.now(conn))
        if not settlements.settle(conn, database, [settlement]):
            return get(conn, project, task_id)
    raise StoreUnavailable("the task changed its state again and again while it was being cancelled", rolled_back=True)


def run_now(conn: Connection, database: Database, project: str, task_id: TaskId) -> Task | None:
    """Make a waiting task due at once. ``None`` if unknown; ``Conflict`` while it runs, once it has ended, and before
    its turn in its ordering key."""
    key = {"of_project": project, "of_task": task_id}
    for _ in range(_TRIES):
        now = database.now(conn)
        pulled = conn.execute(_RUN_NOW, {**key, "now": now}).one_or_none()
        task = get(conn, project, task_id)
        if pulled:
            strands.wake_all(conn, database, [(project, pulled.strand, now)])
        elif task is not None and task.held:
            _require_turn(conn, task, key)
            continue  # its turn came while we looked
        elif task is not None and task.state is not TaskState.QUEUED:
            raise Conflict(f"the task {_HAS_BECOME[task.state]}; only a waiting task can be run now")
        return task
    raise StoreUnavailable("the task's turn came and went again and again while it was pulled", rolled_back=True)


def _require_turn(conn: Connection, task: Task, key: Mapping[str, Any]) -> None:
    """Raise ``Conflict`` if others of its ordering key stand before a task."""
    if (block := order_blocks.first_before(conn, task)) is not None:
        raise Conflict(
            f"the task waits for task {block.task_id} of the same ordering key, which died: redrive its dead letter"
            f" {block.dead_letter_id} or delete it, or unblock the key"
        )
    before = conn.execute(_BEFORE, key).scalars().all()
    if before:
        who = f"task {before[0]} and others" if len(before) > 1 else f"task {before[0]}"
        raise Conflict(
            f"the task waits behind {who} of the same ordering key; only the first of a key can be run now:"
            " run or cancel that one"
        )


_HAS_BECOME = {
    TaskState.RUNNING: "is running already",
    TaskState.SUCCEEDED: "has already succeeded",
    TaskState.DEAD: "has already died",
    TaskState.CANCELLED: "was cancelled before",
}


_ATTEMPTS = (
    select(attempts_table)
    .where(
        attempts_table.c.project == bindparam("of_project"),
        attempts_table.c.task_id == bindparam("of_task"),
    )
    .order_by(attempts_table.c.generation.desc(), attempts_table.c.number.desc())
    .limit(loading.MOST)
)
_WEBHOOKS = (
    select(tasks.c.id)
    .where(
        tasks.c.project == bindparam("of_project"),
        tasks.c.cause_task_id == bindparam("of_task"),
    )
    .order_by(tasks.c.cause_generation.desc(), tasks.c.cause_seq.desc())
    .limit(loading.MOST)
)
_ROOT = select(func.coalesce(tasks.c.root_id, tasks.c.id)).where(
    tasks.c.project == bindparam("of_project"), tasks.c.id == bindparam("of_task")
)
_FOLLOWING = (
    select(tasks.c.id)
    .where(tasks.c.project == bindparam("of_project"), tasks.c.root_id == bindparam("of_root"))
    .order_by(tasks.c.id)
    .limit(loading.MOST)
)
_ALIVE = select(ready.c.task_id).where(
    ready.c.project == bindparam("of_project"),
    ready.c.task_id.in_(bindparam("ids", expanding=True)),
    ready.c.cancelled.is_(False),
)
_RUN_NOW = (
    update(ready)
    .where(
        ready.c.project == bindparam("of_project"),
        ready.c.task_id == bindparam("of_task"),
        ready.c.lease_token.is_(None),
        ready.c.held.is_(False),
        ready.c.not_before > bindparam("now"),
    )
    .values(not_before=bindparam("now"))
    .returning(ready.c.strand)
)
_MINE = ready.alias()
_BEFORE = (
    select(ready.c.task_id)
    .where(
        _MINE.c.project == bindparam("of_project"),
        _MINE.c.task_id == bindparam("of_task"),
        ready.c.project == _MINE.c.project,
        ready.c.queue == _MINE.c.queue,
        ready.c.ordering_key == _MINE.c.ordering_key,
        ready.c.lane_position < _MINE.c.lane_position,
    )
    .order_by(ready.c.lane_position)
    .limit(2)
)
