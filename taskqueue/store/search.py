"""Finding tasks, newest first, a page at a time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, func, select

from taskqueue.core.errors import InvalidTask
from taskqueue.core.task import AttemptKind, Kind, Task, TaskId
from taskqueue.store import loading
from taskqueue.store.schema import LEASED, attempts, endings, ready, task_labels, tasks

Item = TypeVar("Item")
Source = tuple[Table, Any, list[ColumnElement[bool]]]  # where ids of tasks come from: table, column, conditions

LIVING = ("scheduled", "queued", "running", "retrying")
ENDED = ("succeeded", "dead", "cancelled")

NOT_OURS = "not a cursor of this list; start without one"


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
    outcome: str | None = None  # class of the newest closed attempt of the generation
    created_after: datetime | None = None
    created_before: datetime | None = None
    target_host: str | None = None
    kind: Kind | None = Kind.TASK


def search(
    conn: Connection, project: str, wanted: TaskFilter, *, cursor: str | None, limit: int, now: datetime
) -> Page[Task]:
    """Tasks of ``project`` that fit, newest first, without bodies: ``spec.body`` is ``None`` whatever was submitted."""
    before = None if cursor is None else read_cursor(cursor, project)
    ids: list[TaskId] = []
    for table, id_, conditions in _sources(wanted, project, now):
        conditions += [table.c.project == project, *([] if before is None else [id_ < before])]
        ids += conn.execute(select(id_).where(*conditions).order_by(id_.desc()).limit(limit + 1)).scalars()
    ids = sorted(ids, reverse=True)[: limit + 1]
    found = loading.load(conn, project, ids[:limit], with_body=False)
    return Page([found[id_] for id_ in ids[:limit]], write_cursor(project, ids, limit))


def write_cursor(project: str, ids: Sequence[UUID], limit: int) -> str | None:
    """Where the next page starts, when one more than ``limit`` was found. It is worth nothing in another project."""
    return seal(ids[limit - 1].bytes, project) if len(ids) > limit else None


def read_cursor(cursor: str, project: str) -> UUID:
    """The id behind a cursor; ``InvalidTask`` names the parameter when it is not one of ours."""
    place = unseal(cursor, project)
    if len(place) != 16:
        raise InvalidTask("/cursor", NOT_OURS)
    return UUID(bytes=place)


def write_name(names: Sequence[str], project: str, limit: int) -> str | None:
    """Where the next page of a list by name starts, when one more than ``limit`` was found."""
    return seal(names[limit - 1].encode(), project) if len(names) > limit else None


def read_name(cursor: str, project: str) -> str:
    """The name behind a cursor, after which a list goes on; ``InvalidTask`` as above."""
    name = unseal(cursor, project).decode(errors="replace")
    if "\0" in name or "\N{REPLACEMENT CHARACTER}" in name:
        raise InvalidTask("/cursor", NOT_OURS)
    return name


def seal(place: bytes, project: str) -> str:
    """A place in a list of ``project`` as a cursor."""
    return base64.urlsafe_b64encode(place + b"\0" + project.encode()).decode().rstrip("=")


def unseal(cursor: str, project: str) -> bytes:
    """The place behind a cursor; ``InvalidTask`` names the parameter when it does not belong to ``project``."""
    try:
        blob = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    place, separator, owner = blob.rpartition(b"\0")
    if not separator or owner != project.encode():
        raise InvalidTask("/cursor", NOT_OURS)
    return place


def _sources(wanted: TaskFilter, project: str, now: datetime) -> list[Source]:
    """The tables that know best which tasks fit; no task is in two of them. Whatever else a task must be is asked with
    EXISTS: of a join, SQLite would walk over all tasks and look up what was to lead to them."""
    if wanted.status in LIVING:
        return [_living(wanted, [_label(wanted.status, now)])]
    if wanted.status is None and wanted.outcome is not None:
        return [_living(wanted, []), _ended(wanted)]
    if wanted.status is not None and wanted.label is None:
        return [_ended(wanted)]
    if wanted.label is None:
        return [(tasks, tasks.c.id, _conditions(wanted))]
    its = [task_labels.c.label == wanted.label, *_is_task(replace(wanted, label=None), task_labels)]
    if wanted.status is not None:
        its.append(
            exists(
                select(1).where(
                    endings.c.project == project, endings.c.task_id == task_labels.c.task_id, *_last_ending(wanted)
                )
            )
        )
    return [(task_labels, task_labels.c.task_id, its)]


def _label(status: str, now: datetime) -> ColumnElement[bool]:
    """The labels of core.resource.status, as a condition on ``ready``."""
    waits, first = ready.c.lease_token.is_(None), ready.c.number == 0
    match status:
        case "running":
            return LEASED
        case "retrying":
            return and_(waits, ready.c.number > 0)
        case "scheduled":
            return and_(waits, first, ready.c.not_before > now)
        case _:
            return and_(waits, first, ready.c.not_before <= now)


def _living(wanted: TaskFilter, more: list[ColumnElement[bool]]) -> Source:
    conditions = [ready.c.cancelled.is_(False), *more, *_is_task(wanted, ready)]
    if wanted.outcome is not None:
        # Of the newest call: to have asked whether it did its work is no outcome of the task.
        call = attempts.alias()
        newest = select(func.max(call.c.number)).where(*_of_living(call), call.c.kind == AttemptKind.CALL)
        it = (*_of_living(attempts), attempts.c.number == newest.scalar_subquery())
        conditions += [ready.c.number > 0, exists(select(1).where(*it, attempts.c["class"] == wanted.outcome))]
    return ready, ready.c.task_id, conditions


def _of_living(closed: Any) -> tuple[ColumnElement[bool], ...]:
    """That a closed attempt is of the task and generation in ``ready``."""
    return (
        closed.c.project == ready.c.project,
        closed.c.task_id == ready.c.task_id,
        closed.c.generation == ready.c.generation,
    )


def _ended(wanted: TaskFilter) -> Source:
    return endings, endings.c.task_id, [*_last_ending(wanted), *_is_task(wanted, endings)]


def _last_ending(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """That a row of ``endings`` is the last word on its task, and as wanted."""
    alive, later = ready.alias(), endings.alias()
    conditions = [
        ~exists(select(1).where(_same_task(alive), alive.c.cancelled.is_(False))),
        ~exists(select(1).where(_same_task(later), later.c.generation > endings.c.generation)),
    ]
    if wanted.status is not None:
        conditions.append(endings.c.state == wanted.status)
    if wanted.outcome is not None:
        conditions.append(endings.c["class"] == wanted.outcome)
    return conditions


def _same_task(table: Any) -> ColumnElement[bool]:
    return and_(table.c.project == endings.c.project, table.c.task_id == endings.c.task_id)


def _is_task(wanted: TaskFilter, table: Any) -> list[ColumnElement[bool]]:
    """That the task of a row of ``table`` is as wanted, as far as ``tasks`` knows."""
    conditions = _conditions(wanted)
    if not conditions:
        return []
    return [exists(select(1).where(tasks.c.project == table.c.project, tasks.c.id == table.c.task_id, *conditions))]


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
    return conditions


def labelled(task_id: Any, project: Any, label: str) -> ColumnElement[bool]:
    """That a task carries ``label``."""
    its = task_labels.alias()
    return exists(select(1).where(its.c.project == project, its.c.label == label, its.c.task_id == task_id))
