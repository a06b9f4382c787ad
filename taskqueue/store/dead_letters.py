"""Dead letters: what died, why, and its way back to life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, or_, select, update
from sqlalchemy import insert as insert_row

from taskqueue.core import lifecycle
from taskqueue.core.errors import Conflict, InvalidTask
from taskqueue.core.outcome import Partial
from taskqueue.core.reason import DeadReason
from taskqueue.core.target import Target
from taskqueue.core.task import DEFAULT_EXPIRY, DeadLetterId, Kind, Task, TaskId, TaskState
from taskqueue.store import lanes, loading, order_blocks, rows, strands
from taskqueue.store.database import Database
from taskqueue.store.dialect import Changes, Hint, Lane
from taskqueue.store.schema import dead_letters, ready, revisions, tasks
from taskqueue.store.search import NOT_OURS, Page, labelled, read_cursor, seal, unseal, write_cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A death on record, with the task as it was when it died."""

    id: DeadLetterId
    project: str
    task: Task
    generation: int
    reason: DeadReason
    cls: str | None
    worst_partial: Partial
    fingerprint: str
    died_at: datetime
    redriven_at: datetime | None
    compensation_id: TaskId | None  # the task that was submitted because of this death


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """What a dead letter must be to be listed or redriven; ``None`` asks nothing."""

    task_id: TaskId | None = None
    kind: Kind | None = None
    queue: str | None = None
    cls: str | None = None
    reason: str | None = None
    fingerprint: str | None = None
    target_host: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    label: str | None = None
    include_redriven: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters of one fingerprint: the same failure of the same target."""

    fingerprint: str
    count: int
    oldest: datetime
    newest: datetime
    example: DeadLetter  # the newest, its task without a body


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What an edited redrive changes from now on; ``None`` leaves it as it was."""

    target: Target | None = None
    body: bytes | None = None
    content_type: str | None = None  # comes with a body
    headers: tuple[tuple[str, str], ...] | None = None
    timeout: timedelta | None = None
    retries: int | None = None


def search(
    conn: Connection, project: str, wanted: DeadLetterFilter, *, cursor: str | None, limit: int
) -> Page[DeadLetter]:
    """Dead letters of ``project`` that fit, newest first, their tasks without bodies (``spec.body`` is ``None``)."""
    statement = select(dead_letters).where(*conditions(project, wanted))
    if cursor is not None:
        statement = statement.where(dead_letters.c.id < read_cursor(cursor, project))
    found = conn.execute(statement.order_by(dead_letters.c.id.desc()).limit(limit + 1)).all()
    next_cursor = write_cursor(project, [row.id for row in found], limit)
    return Page(_read(conn, project, found[:limit], with_body=False), next_cursor)


def groups(conn: Connection, project: str, wanted: DeadLetterFilter, *, cursor: str | None, limit: int) -> Page[Group]:
    """The dead letters that fit, counted by fingerprint, the most frequent first.

    Within one snapshot. A group whose count changes between two pages may be on both of them or on neither.
    """
    fits, count = conditions(project, wanted), func.count()
    counted = select(dead_letters.c.fingerprint, count.label("size")).where(*fits).group_by("fingerprint")
    if cursor is not None:
        least, fingerprint = _read_place(cursor, project)
        counted = counted.having(or_(count < least, and_(count == least, dead_letters.c.fingerprint > fingerprint)))
    page = counted.order_by(count.desc(), dead_letters.c.fingerprint).limit(limit + 1).subquery()
    its = select(dead_letters.c.id).where(*fits, dead_letters.c.fingerprint == page.c.fingerprint).limit(1)
    ends = [its.order_by(order).scalar_subquery() for order in (dead_letters.c.id, dead_letters.c.id.desc())]
    found = conn.execute(select(page, ends[0].label("oldest_id"), ends[1].label("newest_id"))).all()
    found = sorted(found, key=lambda row: (-row.size, row.fingerprint))
    return Page(_groups(conn, project, found[:limit]), _place(found, project, limit))


def get(conn: Connection, project: str, dead_letter_id: DeadLetterId) -> DeadLetter | None:
    """The dead letter, redriven or not; ``None`` if this project has none of that id."""
    row = conn.execute(_ONE, {"of_project": project, "of_id": dead_letter_id}).one_or_none()
    return None if row is None else _read(conn, project, [row], with_body=True)[0]


def count(conn: Connection, project: str, wanted: DeadLetterFilter) -> int:
    """How many fit."""
    return conn.execute(select(func.count()).select_from(dead_letters).where(*conditions(project, wanted))).scalar_one()


def redrive(
    conn: Connection,
    database: Database,
    project: str,
    dead_letter_id: DeadLetterId,
    edits: Edits | None = None,
    *,
    force: bool = False,
) -> Task | None:
    """Give a dead task a new generation, edited or as it was; ``None`` if unknown.

    ``Conflict`` if it was redriven before or, without ``force``, if its death was compensated.
    """
    now = database.now(conn)
    letter = get(conn, project, dead_letter_id)
    if letter is None:
        return None
    if letter.compensation_id is not None and letter.redriven_at is None and not force:
        raise Conflict(
            f"task {letter.compensation_id} was submitted to compensate for this death;"
            ' to do the work again all the same, send "force": true'
        )
    # Its lane before any row, as every other holder of both takes them.
    lane = lanes.lane_of(letter.task)
    database.dialect.lock_lanes(conn, [lane] if lane is not None else [])
    # Of two redrives at once, the second waits here, then finds it done.
    if not conn.execute(_MARK, {"of_project": project, "of_id": dead_letter_id, "now": now}).rowcount:
        raise Conflict(
            "this dead letter was redriven before; if its task died again, that death has a dead letter of its own"
        )
    task = _revived(letter.task, life=_life(conn, letter.task), now=now)
    if edits is not None:
        task = _edited(conn, task, edits)
    position = order_blocks.resolve(conn, project, task.id, letter.generation) if lane is not None else None
    if lane is not None and position is not None:
        placed = lanes.place_back(conn, task, lane, position=position)
    else:
        placed = lanes.place(conn, database.dialect, [task])[0]
    changes = Changes({ready: [rows.ready_columns(placed.task, lane_position=placed.position)]})
    strands.wake_for(changes, strands.startable([placed.task]))
    database.dialect.write(conn, changes)
    database.hint(conn, Hint.READY)
    return placed.task


def remove(conn: Connection, database: Database, project: str, dead_letter_id: DeadLetterId) -> bool:
    """Forget a dead letter; its task stays on record, and what it blocked goes on. False if unknown."""
    key = {"of_project": project, "of_id": dead_letter_id}
    row = conn.execute(_IN_LANE, key).one_or_none()
    lane = Lane(project, row.queue, row.ordering_key) if row is not None else None
    database.dialect.lock_lanes(conn, [lane] if lane is not None else [])
    if not conn.execute(_DELETE, key).rowcount:
        return False
    if row is not None and lane is not None:
        order_blocks.resolve(conn, project, TaskId(row.task_id), row.generation)
        lanes.advance(conn, database, [lane])
    return True


def conditions(project: str, wanted: DeadLetterFilter) -> list[ColumnElement[bool]]:
    """``wanted`` as conditions on ``dead_letters``."""
    columns = dead_letters.c
    found: list[ColumnElement[bool]] = [columns.project == project]
    equal = {
        "task_id": wanted.task_id,
        "kind": wanted.kind,
        "queue": wanted.queue,
        "class": wanted.cls,
        "reason": wanted.reason,
        "fingerprint": wanted.fingerprint,
        "target_host": wanted.target_host,
    }
    found += [columns[name] == value for name, value in equal.items() if value is not None]
    if wanted.after is not None:
        found.append(columns.died_at > wanted.after)
    if wanted.before is not None:
        found.append(columns.died_at < wanted.before)
    if wanted.label is not None:
        found.append(labelled(columns.task_id, columns.project, wanted.label))
    if not wanted.include_redriven:
        found.append(columns.redriven_at.is_(None))
    return found


def _groups(conn: Connection, project: str, found: Sequence[Any]) -> list[Group]:
    ids = {id_ for row in found for id_ in (row.oldest_id, row.newest_id)}
    letters = {row.id: row for row in conn.execute(_THESE, {"of_project": project, "ids": list(ids)})}
    examples = _read(conn, project, [letters[row.newest_id] for row in found], with_body=False)
    return [
        Group(
            fingerprint=row.fingerprint,
            count=row.size,
            oldest=letters[row.oldest_id].died_at,
            newest=example.died_at,
            example=example,
        )
        for row, example in zip(found, examples, strict=True)
    ]


def _place(found: Sequence[Any], project: str, limit: int) -> str | None:
    if len(found) <= limit:
        return None
    last = found[limit - 1]
    return seal(f"{last.size} {last.fingerprint}".encode(), project)


def _read_place(cursor: str, project: str) -> tuple[int, str]:
    count, separator, fingerprint = unseal(cursor, project).partition(b" ")
    if not separator or not count.isdigit() or len(count) > 18 or not fingerprint.isalnum():
        raise InvalidTask("/cursor", NOT_OURS)
    return int(count), fingerprint.decode()


def _read(conn: Connection, project: str, found: Sequence[Any], *, with_body: bool) -> list[DeadLetter]:
    # A task may have died more than once, and a page may hold two of its deaths: load generation by generation.
    by_generation: dict[int, dict[TaskId, Task]] = {}
    for generation in {row.generation for row in found}:
        ids = [TaskId(row.task_id) for row in found if row.generation == generation]
        by_generation[generation] = loading.at_generation(conn, project, ids, generation, with_body=with_body)
    return [
        DeadLetter(
            id=DeadLetterId(row.id),
            project=row.project,
            task=replace(
                by_generation[row.generation][TaskId(row.task_id)],
                dead_letter_id=DeadLetterId(row.id) if row.redriven_at is None else None,
            ),
            generation=row.generation,
            reason=DeadReason(row.reason),
            cls=row._mapping["class"],
            worst_partial=Partial(row.partial),
            fingerprint=row.fingerprint,
            died_at=row.died_at,
            redriven_at=row.redriven_at,
            compensation_id=row.compensation_id,
        )
        for row in found
    ]


def _life(conn: Connection, task: Task) -> timedelta:
    """How long the task had to live at first. One that was to expire before it was to run gets what is usual."""
    expiry: datetime = conn.execute(_FIRST_EXPIRY, {"of_project": task.spec.project, "of_id": task.id}).scalar_one()
    life = expiry - max(task.created_at, task.run_at)
    return life if life > timedelta(0) else DEFAULT_EXPIRY


def _revived(task: Task, *, life: timedelta, now: datetime) -> Task:
    """The task at the start of its next generation, which it may live for ``life``."""
    lifecycle.require(task.state, TaskState.QUEUED)
    return replace(
        task,
        state=TaskState.QUEUED,
        progress=lifecycle.redriven(task.progress),
        not_before=now,
        expires_at=max(task.expires_at, now + life),
        ending=None,
        last_attempt=None,
        dead_letter_id=None,
    )


def _edited(conn: Connection, task: Task, edits: Edits) -> Task:
    spec = task.spec
    if edits.target is not None:
        spec = replace(spec, target_url=edits.target.url, origin=edits.target.origin, target_host=edits.target.host)
    if edits.body is not None:
        spec = replace(spec, body=edits.body, content_type=edits.content_type)
    spec = replace(
        spec,
        headers=spec.headers if edits.headers is None else edits.headers,
        timeout=edits.timeout or spec.timeout,
        retries=spec.retries if edits.retries is None else edits.retries,
    )
    revision = {
        "project": spec.project,
        "task_id": task.id,
        "generation": task.progress.generation,
        "target_url": spec.target_url,
        "origin": spec.origin,
        "target_host": spec.target_host,
        "headers": rows.pairs_blob(spec.headers),
        "body": spec.body,
        "content_type": spec.content_type,
        "retries": spec.retries,
        "timeout": spec.timeout.total_seconds(),
    }
    conn.execute(insert_row(revisions), revision)
    return replace(task, spec=spec, revision=task.progress.generation)


_MINE = (dead_letters.c.project == bindparam("of_project"), dead_letters.c.id == bindparam("of_id"))
_ONE = select(dead_letters).where(*_MINE)
_THESE = select(dead_letters).where(
    dead_letters.c.project == bindparam("of_project"), dead_letters.c.id.in_(bindparam("ids", expanding=True))
)
_FIRST_EXPIRY = select(tasks.c.expires_at).where(
    tasks.c.project == bindparam("of_project"), tasks.c.id == bindparam("of_id")
)
_MARK = update(dead_letters).where(*_MINE, dead_letters.c.redriven_at.is_(None)).values(redriven_at=bindparam("now"))
_DELETE = delete(dead_letters).where(*_MINE)
_IN_LANE = (
    select(tasks.c.queue, tasks.c.ordering_key, dead_letters.c.task_id, dead_letters.c.generation)
    .join_from(
        dead_letters, tasks, and_(tasks.c.project == dead_letters.c.project, tasks.c.id == dead_letters.c.task_id)
    )
    .where(*_MINE, tasks.c.ordering_key.is_not(None))
)
