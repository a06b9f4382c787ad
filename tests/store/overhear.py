"""What the store says to its database, and how the database would go about it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

from psycopg import ClientCursor, Cursor
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
    watched: list[Any] = []

    def note(words: str, parameters: Any = ()) -> None:
        if re.match(r"\s*(select|with|insert|update|delete)\b", words, re.IGNORECASE):
            heard.append(Said(words, parameters))

    def watch(conn: Connection) -> None:
        watched.append(conn.connection.driver_connection)
        listen(watched[-1], note)

    event.listen(Engine, "engine_connect", watch)
    try:
        yield heard
    finally:
        event.remove(Engine, "engine_connect", watch)
        for raw in watched:
            listen(raw, None)


def listen(raw: Any, note: Callable[..., None] | None) -> None:
    """Have the driver's own connection tell ``note`` of each statement before it is sent, for much goes straight there.

    On SQLite the words hold every parameter in its place; on PostgreSQL the parameters come as well, as the second.
    """
    if isinstance(raw, sqlite3.Connection):
        raw.set_trace_callback(note)
    else:
        raw.cursor_factory = Cursor if note is None else partial(_Telling, note)


class _Telling(Cursor[Any]):
    def __init__(self, note: Callable[..., None], connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self._note = note

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        self._note(query, params)
        return super().execute(query, params, **options)

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        many = list(params_seq)
        self._note(query, many[0])
        super().executemany(query, many, **options)


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
