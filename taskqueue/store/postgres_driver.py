"""Statements that go straight to psycopg: around a short one, SQLAlchemy's part costs as much as the server's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import Connection, Dialect, TextClause

from taskqueue.store.rows import record


def driver(conn: Connection) -> Any:
    """The driver's own connection."""
    return conn.connection.driver_connection


def execute(conn: Connection, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
    """The cursor of ``statement``. Its rows are tuples of Python's own types, its errors the driver's."""
    raw = driver(conn)
    try:
        return raw.execute(_spelled(statement, conn.dialect), parameters)
    except psycopg.Error as error:
        if raw.closed or changed_role(error):
            conn.invalidate(error)
        raise


def named(cursor: Any, names: tuple[str, ...]) -> list[Any]:
    """All rows of a cursor as named tuples. The names are known: asking the driver for them takes as long as a row."""
    return list(map(record(names)._make, cursor.fetchall()))


def changed_role(error: BaseException) -> bool:
    """After a failover an old primary refuses writes on a connection that looks healthy; the pool would keep it."""
    return getattr(error, "sqlstate", None) == "25006"


@lru_cache(maxsize=256)
def _spelled(statement: TextClause, dialect: Dialect) -> str:
    """As the driver wants to read it."""
    return str(statement.compile(dialect=dialect))
