"""Forgetting, in small batches: ended tasks and their history, dead letters, idempotency keys."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Delete, Select, Table, bindparam, delete, exists, select

from taskqueue.store.columns import Instant
from taskqueue.store.database import Database
from taskqueue.store.schema import (
    NEVER_DIED,
    ONCE_DIED,
    attempts,
    dead_letters,
    endings,
    idempotency_keys,
    operations,
    order_blocks,
    ready,
    revisions,
    task_labels,
    tasks,
)

BATCH = 100  # per transaction: on SQLite nobody else writes meanwhile


def prune(conn: Connection, database: Database, *, ended: timedelta, dead: timedelta, limit: int = BATCH) -> int:
    """Delete up to ``limit`` of each kind that have outlived their retention; return how many rows of all kinds went.

    A living task is never touched, nor a dead letter that blocks an ordering key. One that ever died is kept as long as
    its dead letters, even if they were removed.
    """
    now = database.now(conn)
    before_of = {
        # Letters first: a redrive that is under way holds its letter, and what it revives is then seen below.
        _LETTERS: now - dead,
        _KEYS: now,
        _OPERATIONS: now - ended,
        _NEVER_DIED: now - ended,
        _ONCE_DIED: now - max(ended, dead),
    }
    return sum(_forget(conn, kind, before=before, limit=limit) for kind, before in before_of.items())


@dataclass(frozen=True)
class _Kind:
    """What ages together: how its oldest are found, and what goes with them, the rows that count last."""

    aged: Select[Any]
    deletes: tuple[Delete, ...]


def _forget(conn: Connection, kind: _Kind, *, before: datetime, limit: int) -> int:
    """Project by project: SQLite seeks no list of pairs in an index."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for project, key in conn.execute(kind.aged, {"before": before, "limit": limit}):
        found[project].append(key)
    gone = 0
    for project, keys in found.items():
        which = {"of_project": project, "keys": keys, "before": before}
        *_, count = [conn.execute(statement, which).rowcount for statement in kind.deletes]
        gone += count
    return gone


def _delete(table: Table, key: str, *still: Any) -> Delete:
    mine = table.c.project == bindparam("of_project")
    return delete(table).where(mine, table.c[key].in_(bindparam("keys", expanding=True)), *still)


def _aged(table: Table, key: str, age: str, *more: Any) -> Select[Any]:
    """The project and key of those that are old by ``age``, the oldest first."""
    column = table.c[age]
    old = select(table.c.project, table.c[key]).where(column < bindparam("before", type_=Instant), *more)
    return old.order_by(column).limit(bindparam("limit"))


_later = endings.alias()
# A task is old when its last ending is: history of earlier generations goes with it.
_OVER = (
    ~exists(select(1).where(ready.c.project == endings.c.project, ready.c.task_id == endings.c.task_id)),
    ~exists(select(1).where(dead_letters.c.project == endings.c.project, dead_letters.c.task_id == endings.c.task_id)),
    ~exists(
        select(1).where(
            _later.c.project == endings.c.project,
            _later.c.task_id == endings.c.task_id,
            _later.c.generation > endings.c.generation,
        )
    ),
)
_WHOLE = (
    *(_delete(table, "task_id") for table in (attempts, endings, revisions, task_labels)),
    _delete(tasks, "id"),
)
# A death that blocks its ordering key is kept while it does: what waits for it would wait for nothing, or start though
# nobody decided so.
_BLOCKS_NOTHING = ~exists(
    select(1).where(
        order_blocks.c.project == dead_letters.c.project,
        order_blocks.c.task_id == dead_letters.c.task_id,
        order_blocks.c.generation == dead_letters.c.generation,
    )
)
_LETTERS = _Kind(_aged(dead_letters, "id", "died_at", _BLOCKS_NOTHING), (_delete(dead_letters, "id"),))
_KEYS = _Kind(
    _aged(idempotency_keys, "key", "expires_at"),
    # One that expired may have been taken again meanwhile, and lives on.
    (_delete(idempotency_keys, "key", idempotency_keys.c.expires_at < bindparam("before", type_=Instant)),),
)
_OPERATIONS = _Kind(_aged(operations, "id", "finished_at"), (_delete(operations, "id"),))
_NEVER_DIED = _Kind(_aged(endings, "task_id", "finished_at", NEVER_DIED, *_OVER), _WHOLE)
_ONCE_DIED = _Kind(_aged(endings, "task_id", "finished_at", ONCE_DIED, *_OVER), _WHOLE)
