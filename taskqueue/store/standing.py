"""What keeps a task where it is, beyond its own record: whom it waits behind, how long its lease holds."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from taskqueue.core.task import Task, TaskId, TaskState
from taskqueue.core.why import Standing
from taskqueue.store import order_blocks
from taskqueue.store.held_back import held_back
from taskqueue.store.schema import dead_letters, ready


def standing(conn: Connection, task: Task, *, now: datetime) -> Standing:
    """How ``task`` stands now; call it in the transaction that read the task."""
    key = {"of_project": task.spec.project, "of_task": task.id}
    if task.state is TaskState.RUNNING:
        return Standing(lease_until=conn.execute(_LEASE_UNTIL, key).scalar())
    if task.state is TaskState.QUEUED and not task.held:
        return Standing(held_back=tuple(held_back(conn, task, now=now)))
    if task.state is TaskState.QUEUED:
        if (block := order_blocks.first_before(conn, task)) is not None:
            return Standing(block=block)
        lane = {"lane_queue": task.spec.queue, "lane_key": task.spec.ordering_key}
        head = conn.execute(_LANE_HEAD, {**lane, "of_project": task.spec.project}).scalar()
        return Standing(lane_head=TaskId(head) if head is not None else None)
    compensation = None
    if task.dead_letter_id is not None:
        compensation = conn.execute(_COMPENSATION, {**key, "of_letter": task.dead_letter_id}).scalar()
    return Standing(
        compensation_id=TaskId(compensation) if compensation is not None else None,
        block=order_blocks.of_death(conn, task) if task.state is TaskState.DEAD else None,
    )


_LEASE_UNTIL = select(ready.c.lease_until).where(
    ready.c.project == bindparam("of_project"), ready.c.task_id == bindparam("of_task")
)
_LANE_HEAD = (
    select(ready.c.task_id)
    .where(
        ready.c.project == bindparam("of_project"),
        ready.c.queue == bindparam("lane_queue"),
        ready.c.ordering_key == bindparam("lane_key"),
    )
    .order_by(ready.c.lane_position)
    .limit(1)
)
_COMPENSATION = select(dead_letters.c.compensation_id).where(
    dead_letters.c.project == bindparam("of_project"), dead_letters.c.id == bindparam("of_letter")
)
