"""Forgetting, in small batches: ended tasks and their history, dead letters, idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, delete, exists, select, tuple_

from taskqueue.store.columns import Id, Instant, to_micros
from taskqueue.store.database import Database
from taskqueue.store.schema import (
    attempts,
    dead_letters,
    endings,
    idempotency_keys,
    operations,
    ready,
    revisions,
    task_labels,
    tasks,
)


def prune(conn: Connection, database: Database, *, ended: timedelta, dead: timedelta, limit: int = 500) -> int:
    """Delete up to ``limit`` of each kind that have outlived their retention; return how many rows of all kinds went.

    A living task is never touched, nor one whose dead letter is still kept.
    """
    now = database.now(conn)
    letters = {"before": now - dead, "before_id": _oldest_id(now - dead), "limit": limit}
    gone = conn.execute(_DEAD_LETTERS, letters).rowcount
    gone += conn.execute(_KEYS, {"now": now, "limit": limit}).rowcount
    gone += conn.execute(_OPERATIONS, {"before": now - ended}).rowcount
    aged = {"before": now - ended, "before_id": _oldest_id(now - ended), "limit": limit}
    old = conn.execute(_OLD_TASKS, aged).all()
    return gone + _forget(conn, [(row.project, row.id) for row in old])


def _forget(conn: Connection, keys: Sequence[tuple[str, UUID]]) -> int:
    if not keys:
        return 0
    for table in (attempts, endings, revisions, task_labels):
        conn.execute(delete(table).where(tuple_(table.c.project, table.c.task_id).in_(keys)))
    return conn.execute(delete(tasks).where(tuple_(tasks.c.project, tasks.c.id).in_(keys))).rowcount


def _oldest_id(instant: datetime) -> UUID:
    """The smallest UUIDv7 minted at ``instant``: ids sort by age, so the primary key finds the old rows."""
    return UUID(int=(to_micros(instant) // 1000) << 80)


def _few(table: Any, *conditions: Any) -> Any:
    """Delete at most ``limit`` rows, found by their primary key."""
    key = list(table.primary_key.columns)
    found = select(*key).where(*conditions).limit(bindparam("limit"))
    return delete(table).where(tuple_(*key).in_(found))


# The id finds them, the time decides: an id is minted by the clock of a worker, which may be wrong.
_DEAD_LETTERS = _few(
    dead_letters,
    dead_letters.c.id < bindparam("before_id", type_=Id),
    dead_letters.c.died_at < bindparam("before", type_=Instant),
)
_KEYS = _few(idempotency_keys, idempotency_keys.c.expires_at <= bindparam("now"))
_OPERATIONS = delete(operations).where(operations.c.finished_at < bindparam("before"))

_later = endings.alias()
# A task is old when its last ending is: history of earlier generations goes with it.
_OLD_TASKS = (
    select(tasks.c.project, tasks.c.id)
    .join_from(tasks, endings, and_(endings.c.project == tasks.c.project, endings.c.task_id == tasks.c.id))
    .where(
        tasks.c.id < bindparam("before_id"),
        endings.c.finished_at < bindparam("before"),
        ~exists(select(1).where(ready.c.project == tasks.c.project, ready.c.task_id == tasks.c.id)),
        ~exists(select(1).where(dead_letters.c.project == tasks.c.project, dead_letters.c.task_id == tasks.c.id)),
        ~exists(
            select(1).where(
                _later.c.project == tasks.c.project,
                _later.c.task_id == tasks.c.id,
                _later.c.generation > endings.c.generation,
            )
        ),
    )
    .order_by(tasks.c.id)
    .limit(bindparam("limit"))
)
