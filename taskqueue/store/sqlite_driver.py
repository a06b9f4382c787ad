"""Statements that go straight to Python's sqlite3: for small rows, SQLAlchemy's part would cost more than SQLite's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

from taskqueue.store.columns import Id, Instant, from_micros, to_micros
from taskqueue.store.rows import record

# A place in a row, and what its value goes through on the way; ``None`` stays ``None``.
_Conversions = list[tuple[int, Callable[[Any], Any]]]

_TO_DRIVER: Mapping[type, Callable[[Any], Any]] = {Id: attrgetter("bytes"), Instant: to_micros}
# Tasks that came together share their instants.
_FROM_DRIVER: Mapping[type, Callable[[Any], Any]] = {
    Id: lambda value: UUID(bytes=value),
    Instant: lru_cache(maxsize=4096)(from_micros),
}


def driver(conn: Connection) -> sqlite3.Connection:
    """The driver's own connection."""
    raw: Any = conn.connection.driver_connection
    return cast(sqlite3.Connection, raw)


def insert(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert ``rows``, at least one, which all name the same columns in the same order."""
    statement, conversions = _insertion(table, tuple(rows[0]))
    driver(conn).executemany(statement, [_converted(row.values(), conversions) for row in rows])


class Query:
    """A select made ready once; its rows are named tuples of Python's own types. Bound values are the driver's."""

    def __init__(self, select: Select[Any]) -> None:
        compiled = select.compile(dialect=sqlite.dialect(paramstyle="named"))
        self.text, self.constants = str(compiled), compiled.params
        self._conversions = _conversions((column.type for column in select.selected_columns), _FROM_DRIVER)
        self._make = record(tuple(column.name for column in select.selected_columns))._make

    def all(self, conn: Connection, parameters: Mapping[str, Any]) -> list[Any]:
        found = driver(conn).execute(self.text, {**self.constants, **parameters})
        return [self._make(_converted(row, self._conversions)) for row in found]


@lru_cache(maxsize=64)
def _insertion(table: Table, names: tuple[str, ...]) -> tuple[str, _Conversions]:
    columns = ", ".join(f'"{name}"' for name in names)
    conversions = _conversions((table.c[name].type for name in names), _TO_DRIVER)
    # Every name comes from the schema.
    return f"insert into {table.name} ({columns}) values ({', '.join('?' * len(names))})", conversions  # noqa: S608


def _conversions(kinds: Iterable[TypeEngine[Any]], convert: Mapping[type, Callable[[Any], Any]]) -> _Conversions:
    return [(place, convert[type(kind)]) for place, kind in enumerate(kinds) if type(kind) in convert]


def _converted(row: Iterable[Any], conversions: _Conversions) -> list[Any]:
    values = list(row)
    for place, convert in conversions:
        if values[place] is not None:
            values[place] = convert(values[place])
    return values
