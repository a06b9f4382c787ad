"""The two databases a bench runs on, each migrated, its own and thrown away at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bench.plain import Plain
from bench.plain_postgres import PlainPostgres
from bench.plain_sqlite import PlainSqlite
from taskqueue.store import migrations
from taskqueue.store.database import Database
from tests.support.databases import PostgresServer
from tests.support.postgres import Lifeline, server_url

NAMES = ("sqlite", "postgresql")
WAIT = timedelta(seconds=30)  # a busy machine makes the figures worse, and must not end the bench


@dataclass(frozen=True, slots=True)
class Place:
    """A migrated database."""

    name: str
    url: str

    @contextmanager
    def open(self) -> Iterator[Database]:
        database = Database.open(self.url, wait=WAIT)
        database.check()
        yield database
        database.close()

    @contextmanager
    def plain(self) -> Iterator[Plain]:
        """The same database through its driver alone."""
        plain: Plain = PlainSqlite(self.url) if self.name == "sqlite" else PlainPostgres(self.url)
        yield plain
        plain.close()

    def empty(self) -> None:
        """Delete what was left behind; a worker would take all that it finds."""
        with self.plain() as plain:
            plain.empty()


@contextmanager
def place(name: str) -> Iterator[Place]:
    """``sqlite`` in a directory of its own, or ``postgresql`` on the server that the tests would use."""
    with _sqlite() if name == "sqlite" else _postgres() as url:
        migrations.upgrade(url)
        yield Place(name, url)


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="taskqueue-bench-") as directory:
        yield f"sqlite:///{directory}/taskqueue.db"


@contextmanager
def _postgres() -> Iterator[str]:
    lifeline = None if "TASKQUEUE_TEST_POSTGRES" in os.environ else Lifeline()
    try:
        with PostgresServer(server_url(lifeline.directory if lifeline else Path())).database() as url:
            yield url
    finally:
        if lifeline:
            lifeline.close()
