"""Finding tasks, newest first, a page at a time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select

from taskqueue.core.errors import InvalidTask
from taskqueue.core.task import Kind, Task, TaskId
from taskqueue.store import loading
from taskqueue.store.schema import attempts, endings, ready, task_labels, tasks

Item = TypeVar("Item")

LIVING = ("scheduled", "queued", "running", "retrying")
ENDED = ("succeeded", "dead", "cancelled")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of what was found. ``next_cursor`` is ``None`` on the last page."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What a task must be to be listed; ``None`` asks nothing."""

    status: str | None = None
    queue: str | None = None
    label: str | None = None
    outcome: str | None = None  # class of the newest closed attempt
    created_after: datetime | None = None
    created_before: datetime | None = None
    target_host: str | None = None
    kind: Kind | None = Kind.TASK


def search(
    conn: Connection, project: str, wanted: TaskFilter, *, cursor: str | None, limit: int, now: datetime
) -> Page[Task]:
    """Tasks of ``project`` that fit, newest first."""
    statement = _start(wanted.status, project, now)
    statement = statement.where(*_conditions(wanted))
    if cursor is not None:
        statement = statement.where(tasks.c.id < read_cursor(cursor, project))
    ids = conn.execute(statement.order_by(tasks.c.id.desc()).limit(limit + 1)).scalars().all()
    found = loading.load(conn, project, [TaskId(id_) for id_ in ids[:limit]])
    return Page([found[TaskId(id_)] for id_ in ids[:limit]], write_cursor(project, ids, limit))


def write_cursor(project: str, ids: Sequence[UUID], limit: int) -> str | None:
    """Where the next page starts, when one more than ``limit`` was found. It is worth nothing in another project."""
    if len(ids) <= limit:
        return None
    return base64.urlsafe_b64encode(ids[limit - 1].bytes + project.encode()).decode().rstrip("=")


def read_cursor(cursor: str, project: str) -> UUID:
    """The id behind a cursor; ``InvalidTask`` names the parameter when it is not one of ours."""
    try:
        blob = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if len(blob) < 16 or blob[16:] != project.encode():
        raise InvalidTask("/cursor", "not a cursor of this list; start without one")
    return UUID(bytes=blob[:16])


def _start(status: str | None, project: str, now: datetime) -> Select[Any]:
    """The id column from the table that knows this status best."""
    if status in LIVING:
        living = select(tasks.c.id).join_from(ready, tasks, tasks.c.id == ready.c.task_id)
        return living.where(
            ready.c.project == project, tasks.c.project == project, ready.c.cancelled.is_(False), _label(status, now)
        )
    if status in ENDED:
        return _ended(status, project)
    return select(tasks.c.id).where(tasks.c.project == project)


def _label(status: str, now: datetime) -> ColumnElement[bool]:
    """The labels of core.resource.status, as a condition on ``ready``."""
    waits, first = ready.c.lease_token.is_(None), ready.c.number == 0
    match status:
        case "running":
            return ready.c.lease_token.is_not(None)
        case "retrying":
            return and_(waits, ready.c.number > 0)
        case "scheduled":
            return and_(waits, first, ready.c.not_before > now)
        case _:
            return and_(waits, first, ready.c.not_before <= now)


def _ended(state: str, project: str) -> Select[Any]:
    later = endings.alias()
    alive = and_(ready.c.project == project, ready.c.task_id == endings.c.task_id, ready.c.cancelled.is_(False))
    newer = and_(
        later.c.project == project,
        later.c.task_id == endings.c.task_id,
        later.c.generation > endings.c.generation,
    )
    return (
        select(tasks.c.id)
        .join_from(endings, tasks, tasks.c.id == endings.c.task_id)
        .where(
            endings.c.project == project,
            tasks.c.project == project,
            endings.c.state == state,
            ~exists(select(1).where(alive)),
            ~exists(select(1).where(newer)),
        )
    )


def _conditions(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.kind is not None:
        conditions.append(tasks.c.kind == wanted.kind.value)
    if wanted.queue is not None:
        conditions.append(tasks.c.queue == wanted.queue)
    if wanted.target_host is not None:
        conditions.append(tasks.c.target_host == wanted.target_host)
    if wanted.created_after is not None:
        conditions.append(tasks.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(tasks.c.created_at < wanted.created_before)
    if wanted.label is not None:
        conditions.append(labelled(tasks.c.id, tasks.c.project, wanted.label))
    if wanted.outcome is not None:
        conditions.append(_last_class(wanted.outcome))
    return conditions


def labelled(task_id: Any, project: Any, label: str) -> ColumnElement[bool]:
    """That a task carries ``label``."""
    return exists(
        select(1).where(
            task_labels.c.project == project, task_labels.c.label == label, task_labels.c.task_id == task_id
        )
    )


def _last_class(name: str) -> ColumnElement[bool]:
    later = attempts.alias()
    newer = and_(
        later.c.project == attempts.c.project,
        later.c.task_id == attempts.c.task_id,
        or_(
            later.c.generation > attempts.c.generation,
            and_(later.c.generation == attempts.c.generation, later.c.number > attempts.c.number),
        ),
    )
    return exists(
        select(1).where(
            attempts.c.project == tasks.c.project,
            attempts.c.task_id == tasks.c.id,
            attempts.c["class"] == name,
            ~exists(select(1).where(newer)),
        )
    )
