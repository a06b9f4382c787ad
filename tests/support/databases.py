"""Databases for tests: migrated once, then handed out empty; a fresh one per test would cost more than the test."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from taskqueue.store import migrations
from taskqueue.store.schema import metadata
from tests.support.postgres import NoPostgres

PATIENCE = timedelta(seconds=15)  # a busy machine is no outage; tests of outages open databases of their own


class SqliteTemplate:
    """One migrated file, copied for each test."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "template.db"
        migrations.upgrade(f"sqlite:///{self._file}")
        raw = sqlite3.connect(self._file)
        # Everything must be in the one file that is copied, and each copy opens faster when it is in WAL mode already.
        raw.execute("pragma journal_mode=wal")
        raw.close()

    def copy(self, directory: Path) -> str:
        """The URL of an empty database of its own in ``directory``."""
        return f"sqlite:///{shutil.copy(self._file, directory / 'taskqueue.db')}"


class PostgresServer:
    """A server on which tests may make databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            psycopg.connect(url, connect_timeout=30).close()
        except psycopg.OperationalError as error:
            raise NoPostgres(f"the tests need PostgreSQL, and {_shown(url)} cannot be reached: {error}") from error

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database without tables, dropped at the end."""
        name = f"taskqueue_test_{uuid.uuid4().hex[:12]}"
        self._execute("create database {} template template0", name)
        try:
            yield urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))
        finally:
            self._execute("drop database {} with (force)", name)

    def _execute(self, statement: str, name: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(sql.Identifier(name)))


def empty(url: str) -> None:
    """Make a migrated PostgreSQL database as new; waits a little for the last test's connections to let go."""
    names = [sql.Identifier(table.name) for table in metadata.tables.values()]
    with psycopg.connect(url, options="-c lock_timeout=30000") as conn:
        for name in names:
            conn.execute(sql.SQL("delete from {}").format(name))
        conn.execute("insert into projects (project, created_at) values ('default', now())")  # it is always there


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}"
