"""What the store says to its database, and how the database would go about it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from psycopg import ClientCursor
from sqlalchemy import Connection, Engine, event

from taskqueue.store.database import Database


class Said(NamedTuple):
    """One statement with the parameters it came with."""

    words: str
    parameters: Any


@contextmanager
def overheard() -> Iterator[list[Said]]:
    """Everything that is sent to any database meanwhile."""
    heard: list[Said] = []
    traced: list[sqlite3.Connection] = []

    def note(words: str, parameters: Any = ()) -> None:
        if re.match(r"\s*(select|with|insert|update|delete)\b", words, re.IGNORECASE):
            heard.append(Said(words, parameters))

    def sent(conn: Connection, _cursor: object, words: str, parameters: Any, *_more: object) -> None:
        if conn.dialect.name != "sqlite":
            note(words, parameters[0] if isinstance(parameters, list) else parameters)

    def trace(conn: Connection) -> None:
        # Much goes straight to this driver, and it tells with every parameter in its place.
        raw: Any = conn.connection.driver_connection
        if isinstance(raw, sqlite3.Connection):
            raw.set_trace_callback(note)
            traced.append(raw)

    event.listen(Engine, "before_cursor_execute", sent)
    event.listen(Engine, "engine_connect", trace)
    try:
        yield heard
    finally:
        event.remove(Engine, "before_cursor_execute", sent)
        event.remove(Engine, "engine_connect", trace)
        for raw in traced:
            raw.set_trace_callback(None)


def plan_of(database: Database, said: Said) -> str:
    """The plan, one step a line; on PostgreSQL the generic one, which is kept for any parameters."""
    with database.begin() as conn:
        if database.dialect_name == "postgresql":
            return _generic_plan(conn, said)
        return "\n".join(
            row.detail for row in conn.exec_driver_sql(f"explain query plan {said.words}", said.parameters)
        )


def _generic_plan(conn: Connection, said: Said) -> str:
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", said.words)))
    numbered = re.sub(r"%\((\w+)\)s", lambda name: f"${names.index(name[1]) + 1}", said.words)
    given = ", ".join(f"%({name})s" for name in names)
    conn.exec_driver_sql("set local plan_cache_mode = force_generic_plan")
    raw: Any = conn.connection.driver_connection
    with ClientCursor(raw) as cursor:
        cursor.execute(f"prepare overheard as {numbered}")
        cursor.execute(f"explain execute overheard{f'({given})' if names else ''}", said.parameters if names else None)
        lines = [str(row[0]) for row in cursor]
        cursor.execute("deallocate overheard")
    return "\n".join(lines)
