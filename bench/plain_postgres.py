"""The store's statements through psycopg alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import Table, TextClause, make_url

from bench.children import parent_of
from bench.plain import Columns, Ends, Inserts
from bench.work import LEASE
from taskqueue.store import claim_postgres
from taskqueue.store.schema import metadata, ready, tasks

_encode = msgspec.json.Encoder().encode
_POSTGRES = make_url("postgresql+psycopg://").get_dialect()()
_AFTER = ("not_before", "seq", "charged", "lost", "deferred", "memory")


class PlainPostgres:
    """One row goes as plain parameters, many as one JSON parameter: of executemany, pipelines, unnest, VALUES lists and
    COPY, none was faster at the sizes of a group."""

    def __init__(self, url: str) -> None:
        self._conn = psycopg.connect(url, options="-c jit=off")

    def shaped(self, columns: Sequence[Columns]) -> Sequence[Any]:
        return columns

    def insert(self, inserts: Inserts) -> None:
        self._insert(inserts)
        self._conn.commit()

    def claim(self, limit: int) -> int:
        run = self._conn.execute
        (*_, now) = run(_ENTER).fetchone() or ()
        ((_, _, strand, project, *_),) = run(_DUE, {"now": now, "limit": 64}).fetchall()
        found = run(_LEASE, _lease_values(project, strand, limit, now)).fetchall()
        self._conn.commit()
        return len(found)

    def succeed(self, ends: Ends) -> None:
        self._hot(_DELETE_ONE, _DELETE, ends)
        self._insert(ends.history)
        self._conn.commit()

    def retry(self, ends: Ends) -> None:
        self._hot(_UPDATE_ONE, _UPDATE, ends)
        self._insert(ends.history)
        self._conn.commit()

    def empty(self) -> None:
        self._conn.execute(_TRUNCATE)
        self._conn.commit()

    def tidy(self) -> None:
        self._conn.autocommit = True
        self._conn.execute("vacuum (analyze) ready, tasks, attempts, endings")
        self._conn.autocommit = False

    def waiting(self) -> bool:
        found = self._conn.execute("select 1 from ready limit 1").fetchone()
        self._conn.commit()
        return found is not None

    def multiply(self, count: int) -> None:
        for statement in (_MORE_TASKS, _MORE_READY):
            self._conn.execute(statement, {"count": count})
        self._conn.commit()

    def plan(self) -> str:
        names: list[str] = re.findall(r"%\((\w+)\)s", _LEASE)
        numbers = {name: f"${number}" for number, name in enumerate(dict.fromkeys(names), 1)}
        statement = re.sub(r"%\((\w+)\)s", lambda found: numbers[found[1]], _LEASE)
        project, strand = self._conn.execute("select project, strand from ready limit 1").fetchone() or ("", 0)
        given = _lease_values(project, strand, 100, datetime.now(UTC))
        values = ", ".join(sql.Literal(given[name]).as_string(self._conn) for name in numbers)
        self._conn.execute("set local plan_cache_mode = force_generic_plan")
        self._conn.execute(f"prepare bench_claim as {statement}")
        explain = f"explain (analyze, buffers) execute bench_claim ({values})"
        lines = [line for (line,) in self._conn.execute(explain, prepare=False)]
        self._conn.rollback()
        return "\n".join(lines)

    def groups(self) -> int:
        (count,) = self._conn.execute("select count(distinct created_at) from tasks").fetchone() or (0,)
        self._conn.commit()
        return int(count)

    def servers(self) -> list[int]:
        (pid,) = self._conn.execute("select pg_backend_pid()").fetchone() or (0,)
        self._conn.commit()
        server = parent_of(pid)
        return [server] if server else []

    def close(self) -> None:
        self._conn.close()

    def _insert(self, inserts: Inserts) -> None:
        for table, rows in inserts.tables:
            one, many = _inserts(table, tuple(rows[0]))
            if len(rows) == 1:
                self._conn.execute(one, rows[0])
            else:
                self._conn.execute(many, _bound(rows))
        if inserts.wake:
            self._conn.execute(_WAKE, inserts.wake)

    def _hot(self, one: str, many: str, ends: Ends) -> None:
        single = len(ends.leases) == 1
        cursor = self._conn.execute(one, ends.leases[0]) if single else self._conn.execute(many, _bound(ends.leases))
        assert cursor.rowcount == len(ends.leases), "every lease of the bench holds"


def _lease_values(project: str, strand: int, limit: int, now: datetime) -> dict[str, Any]:
    return {
        "offers": _encode([{"place": 0, "project": project, "strand": strand, "quota": limit}]).decode(),
        "limit": limit,
        "now": now,
        "until": now + LEASE,
        "worker": "bench-2",
        "id_head": str(uuid4())[:15],
    }


def _bound(rows: Sequence[Any]) -> dict[str, str]:
    return {"rows": _encode(rows).decode()}


@cache
def _inserts(table: Table, names: tuple[str, ...]) -> tuple[str, str]:
    """The insert of one row, and the insert of many."""
    columns = ", ".join(f'"{name}"' for name in names)
    into = f'insert into "{table.name}" ({columns})'
    one = f"{into} values ({', '.join(f'%({name})s' for name in names)})"
    values = ", ".join(_read(table, name) for name in names)
    return one, f"{into} select {values} from {_records(table, names)}"


def _records(table: Table, names: tuple[str, ...]) -> str:
    types = ", ".join(f'"{name}" {"text" if _type(table, name) == "BYTEA" else _type(table, name)}' for name in names)
    return f"json_to_recordset(%(rows)s::json) as fresh ({types})"


def _read(table: Table, name: str) -> str:
    """JSON carries bytes in base64."""
    return f"decode(fresh.\"{name}\", 'base64')" if _type(table, name) == "BYTEA" else f'fresh."{name}"'


def _type(table: Table, name: str) -> str:
    return str(table.c[name].type.compile(dialect=_POSTGRES))


def _spelled(statement: TextClause) -> str:
    """As psycopg wants to read it."""
    return str(statement.compile(dialect=_POSTGRES))


_ENTER, _DUE, _LEASE = map(_spelled, (claim_postgres._ENTER, claim_postgres._DUE, claim_postgres._LEASE))
_WAKE = "insert into wakes (project, strand, look_at) values (%(project)s, %(strand)s, %(look_at)s)"
_LEASES = ("task_id", "project", "lease_token")
_ONE = "task_id = %(task_id)s and project = %(project)s and lease_token = %(lease_token)s"
_SAME = "ready.task_id = fresh.task_id and ready.project = fresh.project and ready.lease_token = fresh.lease_token"
_FREE = "lease_token = null, lease_until = null, attempt_id = null, started_at = null, worker = null"
_DELETE_ONE = f"delete from ready where {_ONE}"
_DELETE = f"delete from ready using {_records(ready, _LEASES)} where {_SAME}"
_UPDATE_ONE = f"update ready set {_FREE}, {', '.join(f'{name} = %({name})s' for name in _AFTER)} where {_ONE}"
_UPDATE = (
    f"update ready set {_FREE}, {', '.join(f'{name} = {_read(ready, name)}' for name in _AFTER)}"
    f" from {_records(ready, (*_LEASES, *_AFTER))} where {_SAME}"
)


def _more(table: Table, id_name: str, changed: dict[str, str]) -> str:
    """Copies of the one row of ``table``, with ids in the order in which they are made."""
    names = [column.name for column in table.c]
    values = {id_name: "('01900000-0000-7000-8000-' || lpad(to_hex(copy.nth), 12, '0'))::uuid", **changed}
    columns, selected = (
        ", ".join(each) for each in (map('"{}"'.format, names), (values.get(n, f'"{n}"') for n in names))
    )
    return (
        f"insert into {table.name} ({columns}) select {selected}"
        f" from {table.name}, generate_series(1, %(count)s) as copy (nth)"
    )


_MORE_TASKS = _more(tasks, "id", {})
_MORE_READY = _more(ready, "task_id", {"not_before": "not_before - copy.nth * interval '1 microsecond'"})
_TRUNCATE = sql.SQL("truncate {}").format(sql.SQL(", ").join(map(sql.Identifier, metadata.tables)))
