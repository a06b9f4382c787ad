"""What the end of a task sets off, and what it did set off."""

from __future__ import annotations

from collections.abc import Sequence

from taskqueue.core.task import FollowUp, Task, TaskId, TaskState, WebhookEvent


def foreseen(task: Task, event: WebhookEvent) -> list[str]:
    """What an ending would set off."""
    spec = task.spec
    follow_up = spec.on_success if event is WebhookEvent.SUCCEEDED else spec.on_failure
    told = []
    if spec.webhook_url is not None and event in spec.webhook_events:
        told.append(f"a webhook tells {spec.webhook_url}")
    if follow_up is not None:
        when = f", if it matches {' or '.join(follow_up.match)}" if follow_up.match else ""
        told.append(f"a task for {follow_up.task.spec.target_url} is submitted{when}")
    if event is WebhookEvent.DEAD:
        told.append("a dead letter is kept, from which the task can be redriven")
    return told


def followed(task: Task, *, chain: Sequence[Task], compensation_id: TaskId | None) -> list[str]:
    """Which task an ending that came has submitted, and why it has submitted none."""
    if task.state is TaskState.SUCCEEDED and task.spec.on_success is not None:
        follower = _follower(task, task.spec.on_success, chain)
        named = f"task {follower}" if follower is not None else "a task that is no longer kept"
        return [f"{named} for {task.spec.on_success.task.spec.target_url} was submitted (onSuccess)"]
    if task.state is not TaskState.DEAD or task.spec.on_failure is None:
        return []
    if compensation_id is not None:
        return [f"task {compensation_id} for {task.spec.on_failure.task.spec.target_url} was submitted (onFailure)"]
    if task.dead_letter_id is None or not task.spec.on_failure.match:
        return []  # what was submitted is no longer known
    patterns = " or ".join(task.spec.on_failure.match)
    return [f"no task was submitted (onFailure): this death does not match {patterns}"]


def _follower(task: Task, follow_up: FollowUp, chain: Sequence[Task]) -> TaskId | None:
    """The newest, since earlier generations may have had followers too."""
    url = follow_up.task.spec.target_url
    mine = (each.id for each in reversed(chain) if each.spec.parent_id == task.id and each.spec.target_url == url)
    return next(mine, None)
