"""A second process on the same database, as far as the store can tell; and the invariants after every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskqueue.store.database import Database
from taskqueue.store.strands import wake_overlooked
from tests.store.invariants import faults, overlooked
from tests.support.clock import Clock
from tests.support.databases import PATIENCE, SqliteTemplate, empty


@pytest.fixture
def other(database_url: str, clock: Clock) -> Iterator[Database]:
    """Another ``Database`` on the same database, with pools of its own and the same clock."""
    opened = Database.open(database_url, clock_offset=clock, wait=PATIENCE)
    yield opened
    opened.close()


@pytest.fixture
def sound(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test, nothing in the database it used contradicts anything else."""
    database = request.getfixturevalue("database") if "database" in request.fixturenames else None
    yield
    if database is not None:
        assert faults(database) == []
        assert woken(database) == 0


@pytest.fixture
def attended(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test, a claim will look in time at every task that waits; for crowds, where ``sound`` takes long."""
    database: Database = request.getfixturevalue("database")
    yield
    with database.begin() as conn:
        assert list(overlooked(conn, now=database.now(conn))) == []
    assert woken(database) == 0


def woken(database: Database) -> int:
    """How many strands a worker's upkeep finds to have been overlooked."""
    with database.begin() as conn:
        return wake_overlooked(conn, database, limit=10)


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database on PostgreSQL, for what SQLite has no equal of."""
    url: str = request.getfixturevalue("_postgres_url")
    empty(url)
    return url


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated, empty SQLite file, for what PostgreSQL has no equal of."""
    template: SqliteTemplate = request.getfixturevalue("_sqlite_template")
    return template.copy(tmp_path)
