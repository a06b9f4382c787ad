"""The tasks that settlements bring with them because another one ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from taskqueue.core.follow_up import MAX_WITH_EXCERPTS, follow_up
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Attempt, Task, TaskId, TaskState
from taskqueue.store import loading
from taskqueue.store.dialect import Lane
from taskqueue.store.submissions import mint


def lanes_of(settlements: Iterable[Settlement]) -> set[Lane]:
    """The lanes that follow-ups will enter."""
    asked = ((item.task.spec.project, item.follow_up.task.spec) for item in settlements if item.follow_up)
    return {Lane(project, spec.queue, spec.ordering_key) for project, spec in asked if spec.ordering_key is not None}


def minted(conn: Connection, settlements: Sequence[Settlement], *, now: datetime) -> dict[TaskId, Task]:
    """The new tasks, each by the id of the one that ended."""
    asking = [item for item in settlements if item.follow_up]
    earlier = _earlier(conn, [item for item in asking if item.state is TaskState.DEAD])
    found: dict[TaskId, Task] = {}
    for item in asking:
        if (new := follow_up(item, earlier.get(item.task.id, ()), now=now)) is not None:
            found[item.task.id] = mint(new, now=now)
    return found


def _earlier(conn: Connection, deaths: Sequence[Settlement]) -> dict[TaskId, list[Attempt]]:
    """The attempts before the one that each settlement closes; a follow-up of a success is told of none."""
    found: dict[TaskId, list[Attempt]] = {}
    for project in {item.task.spec.project for item in deaths}:
        mine = [item.task for item in deaths if item.task.spec.project == project]
        found |= loading.attempts_of_generation(conn, project, mine, max_excerpts=MAX_WITH_EXCERPTS)
    return found
