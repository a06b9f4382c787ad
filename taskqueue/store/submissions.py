"""Submit: rows in, receipts out. Idempotency keys are decided in the same transaction as the tasks they protect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, select, tuple_
from uuid_utils.compat import uuid7

from taskqueue.core.errors import KeyReused, StoreUnavailable
from taskqueue.core.task import DEFAULT_EXPIRY, NewTask, Task, TaskId, TaskState
from taskqueue.store import lanes, loading, rows, strands
from taskqueue.store.database import Database
from taskqueue.store.dialect import Changes, Hint
from taskqueue.store.schema import idempotency_keys, ready, task_labels, tasks

DEFAULT_KEY_TTL = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What makes a submit repeat-safe: the caller's key, and a hash of the body it came with."""

    project: str
    key: str
    body_hash: bytes
    ttl: timedelta = DEFAULT_KEY_TTL


@dataclass(frozen=True, slots=True)
class Submission:
    """Tasks that are accepted all together or not at all. ``item_keys`` is empty, or names one key or None per task."""

    tasks: tuple[NewTask, ...]
    key: IdempotencyKey | None = None
    item_keys: tuple[IdempotencyKey | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The tasks as they stand. ``replayed``: all of them had been submitted before."""

    tasks: tuple[Task, ...]
    replayed: bool = False


Known = dict[tuple[str, str], tuple[bytes, tuple[TaskId, ...]]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one submission comes to: a task to insert, or the id of one that is there already, per place."""

    project: str
    places: tuple[Task | TaskId, ...]

    @property
    def fresh(self) -> list[Task]:
        return [place for place in self.places if isinstance(place, Task)]

    @property
    def old(self) -> list[TaskId]:
        return [place for place in self.places if not isinstance(place, Task)]


def submit(conn: Connection, database: Database, submissions: Sequence[Submission]) -> list[Receipt | KeyReused]:
    """Insert what is new; answer each submission in order; one that reuses a key is refused alone."""
    now = database.now(conn)
    known = _known(conn, submissions, now)
    key_rows: list[dict[str, Any]] = []
    plans: list[_Plan | KeyReused] = []
    for submission in submissions:
        try:
            plans.append(_plan(submission, known, key_rows, now))
        except KeyReused as reused:
            plans.append(reused)
    if key_rows and len(database.dialect.insert_keys(conn, key_rows, now=now)) < len(key_rows):
        # Another process committed one of these keys after we looked: look again.
        raise StoreUnavailable("an idempotency key was taken while it was being checked", rolled_back=True)
    fresh = [task for plan in plans if isinstance(plan, _Plan) for task in plan.fresh]
    placed, changes = place(conn, database, fresh, now=now)
    database.dialect.write(conn, changes)
    current = _current(conn, [plan for plan in plans if isinstance(plan, _Plan)])
    known_tasks = current | {task.id: task for task in placed}
    return [plan if isinstance(plan, KeyReused) else _receipt(plan, known_tasks) for plan in plans]


def place(conn: Connection, database: Database, new: Sequence[Task], *, now: datetime) -> tuple[list[Task], Changes]:
    """Minted tasks in their lanes, and the rows to write; a submit and a settlement's webhooks come here alike."""
    placed = lanes.place(conn, database.dialect, new)
    labels = [
        {"project": item.task.spec.project, "label": label, "task_id": item.task.id}
        for item in placed
        for label in dict.fromkeys(item.task.spec.labels)
    ]
    if any(item.task.not_before is not None and item.task.not_before <= now for item in placed):
        database.hint(conn, Hint.READY)
    inserts: dict[Table, Sequence[dict[str, Any]]] = {
        tasks: [rows.task_columns(item.task) for item in placed],
        ready: [rows.ready_columns(item.task, lane_position=item.position) for item in placed],
        task_labels: labels,
    }
    changes = Changes(inserts)
    strands.wake_for(changes, strands.startable(item.task for item in placed))
    return [item.task for item in placed], changes


def mint(new: NewTask, *, now: datetime) -> Task:
    """A new queued task, its relative times resolved at ``now``."""
    run_at = new.run_at or now + new.delay
    if new.expires_at is not None:
        expires_at = new.expires_at
    else:
        expires_at = now + new.expires_in if new.expires_in is not None else max(run_at, now) + DEFAULT_EXPIRY
    return Task(
        id=TaskId(uuid7()),
        spec=new.spec,
        created_at=now,
        run_at=run_at,
        expires_at=expires_at,
        state=TaskState.QUEUED,
        not_before=max(run_at, now),
    )


def _keys(submission: Submission) -> Iterator[IdempotencyKey]:
    if submission.key is not None:
        yield submission.key
    yield from (key for key in submission.item_keys if key is not None)


_KNOWN = select(idempotency_keys).where(
    tuple_(idempotency_keys.c.project, idempotency_keys.c.key).in_(bindparam("keys", expanding=True)),
    idempotency_keys.c.expires_at > bindparam("now"),
)

_STILL_THERE = select(tasks.c.id).where(
    tasks.c.project == bindparam("project"), tasks.c.id.in_(bindparam("ids", expanding=True))
)
_FORGET = delete(idempotency_keys).where(
    idempotency_keys.c.project == bindparam("of_project"), idempotency_keys.c.key == bindparam("of_key")
)


def _known(conn: Connection, submissions: Sequence[Submission], now: datetime) -> Known:
    wanted = {(key.project, key.key) for submission in submissions for key in _keys(submission)}
    if not wanted:
        return {}
    found = conn.execute(_KNOWN, {"keys": sorted(wanted), "now": now})
    known = {(row.project, row.key): (row.body_hash, rows.ids_of(row.task_ids)) for row in found}
    for (project, key), (_, ids) in list(known.items()):
        # Retention may be shorter than a key's life: a key whose tasks are gone protects nothing.
        if len(conn.execute(_STILL_THERE, {"project": project, "ids": ids}).all()) < len(set(ids)):
            conn.execute(_FORGET, {"of_project": project, "of_key": key})
            del known[project, key]
    return known


def _plan(submission: Submission, known: Known, key_rows: list[dict[str, Any]], now: datetime) -> _Plan:
    """Decide every place of one submission before noting any of its keys, so that a refusal leaves no trace."""
    project = submission.tasks[0].spec.project
    if (whole := submission.key) is not None and (before := _remembered(known, whole)) is not None:
        return _Plan(project, before)
    item_keys = submission.item_keys or (None,) * len(submission.tasks)
    places: list[Task | TaskId] = []
    for new, key in zip(submission.tasks, item_keys, strict=True):
        remembered = _remembered(known, key) if key is not None else None
        places.append(remembered[0] if remembered else mint(new, now=now))
    ids = tuple(place.id if isinstance(place, Task) else place for place in places)
    noted = [
        (key, (id_,)) for key, id_, place in zip(item_keys, ids, places, strict=True) if key and isinstance(place, Task)
    ]
    for key, key_ids in [(whole, ids), *noted] if whole is not None else noted:
        known[key.project, key.key] = (key.body_hash, key_ids)
        key_rows.append(
            {
                "project": key.project,
                "key": key.key,
                "body_hash": key.body_hash,
                "task_ids": rows.ids_blob(key_ids),
                "expires_at": now + key.ttl,
            }
        )
    return _Plan(project, tuple(places))


def _remembered(known: Known, key: IdempotencyKey) -> tuple[TaskId, ...] | None:
    """The tasks this key stands for; ``None`` while it is free."""
    before = known.get((key.project, key.key))
    if before is None:
        return None
    if before[0] != key.body_hash:
        raise KeyReused(key.key)
    return before[1]


def _current(conn: Connection, plans: Sequence[_Plan]) -> dict[TaskId, Task]:
    current: dict[TaskId, Task] = {}
    for project in {plan.project for plan in plans if plan.old}:
        ids = {id_ for plan in plans if plan.project == project for id_ in plan.old}
        current |= loading.load(conn, project, sorted(ids))
    return current


def _receipt(plan: _Plan, found: dict[TaskId, Task]) -> Receipt:
    ids = [place.id if isinstance(place, Task) else place for place in plan.places]
    return Receipt(tuple(found[id_] for id_ in ids), replayed=bool(ids) and not plan.fresh)
