"""The store's statements through Python's sqlite3 alone, with the store's own pragmas."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table, make_url

from bench.plain import Columns, Ends, Inserts
from bench.work import LEASE
from taskqueue.store import claim_sqlite
from taskqueue.store import sqlite as store
from taskqueue.store.columns import to_micros
from taskqueue.store.schema import metadata, ready, tasks

_PRAGMAS = ("journal_mode=wal", "synchronous=full", "fullfsync=on", "cache_size=-65536", "temp_store=memory")
_AFTER = ("not_before", "seq", "charged", "lost", "deferred", "memory")


class PlainSqlite:
    """Many rows go through executemany, which compiles the statement once."""

    def __init__(self, url: str) -> None:
        file = make_url(url).database or ""
        self._conn = sqlite3.connect(file, isolation_level=None, timeout=10, check_same_thread=False)
        for pragma in _PRAGMAS:
            self._conn.execute(f"pragma {pragma}")

    def shaped(self, columns: Sequence[Columns]) -> Sequence[Any]:
        return [{name: _plain(value) for name, value in row.items()} for row in columns]

    def insert(self, inserts: Inserts) -> None:
        self._conn.execute("begin immediate")
        self._insert(inserts)
        self._conn.execute("commit")

    def claim(self, limit: int) -> int:
        run, now = self._conn.execute, to_micros(datetime.now(UTC))
        run("begin immediate")
        ((strand, project, *_),) = run(claim_sqlite._DUE, (now, 64)).fetchall()
        found = run(_WAITING, _waiting(project, strand, now, limit)).fetchall()
        until = now + LEASE.seconds * 1_000_000
        fresh = [(uuid4().bytes, uuid4().bytes, until, now, "bench-2", row[0]) for row in found]
        self._conn.executemany(claim_sqlite._LEASE, fresh)
        run("commit")
        return len(found)

    def succeed(self, ends: Ends) -> None:
        self._settle(_DELETE, ends)

    def retry(self, ends: Ends) -> None:
        self._settle(_UPDATE, ends)

    def empty(self) -> None:
        for name in metadata.tables:
            self._conn.execute(f'delete from "{name}"')

    def tidy(self) -> None:
        self._conn.execute("pragma wal_checkpoint(truncate)")

    def waiting(self) -> bool:
        return self._conn.execute("select 1 from ready limit 1").fetchone() is not None

    def multiply(self, count: int) -> None:
        self._conn.create_function(
            "numbered_id", 1, lambda number: b"\x01\x90" + number.to_bytes(14), deterministic=True
        )
        self._conn.execute("begin immediate")
        for statement in (_MORE_TASKS, _MORE_READY):
            self._conn.execute(statement, {"count": count})
        self._conn.execute("commit")

    def plan(self) -> str:
        (project, strand) = self._conn.execute("select project, strand from ready limit 1").fetchone()
        values = _waiting(project, strand, to_micros(datetime.now(UTC)), 100)
        lines = self._conn.execute(f"explain query plan {_WAITING}", values).fetchall()
        return "\n".join(str(line[-1]) for line in lines)

    def groups(self) -> int:
        (count,) = self._conn.execute("select count(distinct created_at) from tasks").fetchone()
        return int(count)

    def servers(self) -> list[int]:
        return []

    def close(self) -> None:
        self._conn.close()

    def _settle(self, statement: str, ends: Ends) -> None:
        self._conn.execute("begin immediate")
        touched = self._conn.executemany(statement, ends.leases).rowcount
        assert touched == len(ends.leases), "every lease of the bench holds"
        self._insert(ends.history)
        self._conn.execute("commit")

    def _insert(self, inserts: Inserts) -> None:
        for table, rows in inserts.tables:
            self._conn.executemany(_insert(table.name, tuple(rows[0])), rows)
        if inserts.wake:
            self._wake({**inserts.wake, "ahead": inserts.wake["look_at"]})

    def _wake(self, wake: Columns) -> None:
        if not self._conn.execute(store._WAKE, wake).rowcount:
            self._conn.execute(store._MAKE_STRAND, wake)


def _waiting(project: str, strand: int, now: int, limit: int) -> Columns:
    constants = claim_sqlite._WAITING.constants
    return {**constants, "strand": strand, "of_project": project, "now": now, "limit": limit}


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.bytes
    return to_micros(value) if isinstance(value, datetime) else value


@cache
def _insert(table: str, names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    return f'insert into "{table}" ({columns}) values ({", ".join(f":{name}" for name in names)})'


_WAITING = claim_sqlite._WAITING.text
_ONE = "task_id = :task_id and project = :project and lease_token = :lease_token"
_FREE = "lease_token = null, lease_until = null, attempt_id = null, started_at = null, worker = null"
_DELETE = f"delete from ready where {_ONE}"
_UPDATE = f"update ready set {_FREE}, {', '.join(f'{name} = :{name}' for name in _AFTER)} where {_ONE}"


def _more(table: Table, id_name: str, changed: dict[str, str]) -> str:
    """Copies of the one row of ``table``, with ids in the order in which they are made."""
    names = [column.name for column in table.c]
    values = {id_name: "numbered_id(copy.nth)", **changed}
    columns, selected = (", ".join(f'"{name}"' for name in names), ", ".join(values.get(n, f'"{n}"') for n in names))
    return (
        "with recursive copy (nth) as (select 1 union all select nth + 1 from copy where nth < :count)"
        f" insert into {table.name} ({columns}) select {selected} from {table.name}, copy"
    )


_MORE_TASKS = _more(tasks, "id", {})
_MORE_READY = _more(ready, "task_id", {"not_before": "not_before - copy.nth"})
