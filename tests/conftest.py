"""Fixtures of every test: both databases, a clock moved by hand, the log, and a PostgreSQL that is never skipped."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.support.clock import Clock
from tests.support.databases import PATIENCE, PostgresServer, SqliteTemplate, empty
from tests.support.postgres import Lifeline, server_url

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from taskqueue.store.database import Database

BOTH = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))
_LONG = ("house/", "e2e/", "worker/", "faultlab/", "store/", "cli/", "web/")
# The same examples in every run: what passes here passes there. `--hypothesis-profile=default` looks at others.
settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")
_LIFELINE = pytest.StashKey[Lifeline]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_LIFELINE] = Lifeline()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _LIFELINE in config.stash:
        config.stash[_LIFELINE].close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: much of a test is waiting."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the one server of this run is kept."""
    node.workerinput["postgres_directory"] = str(node.config.stash[_LIFELINE].directory)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: at the end of a run, no process should wait for the last one to finish such a file."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    place = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((number for number, name in enumerate(_LONG) if place.startswith(name)), len(_LONG))


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The PostgreSQL of this run. That it cannot be had fails the tests: half a run must not look like a whole one."""
    config = request.config
    told = getattr(config, "workerinput", {}).get("postgres_directory")
    return PostgresServer(server_url(Path(told) if told else config.stash[_LIFELINE].directory))


@pytest.fixture(scope="session")
def _postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    from taskqueue.store import migrations

    with postgres_server.database() as url:
        migrations.upgrade(url)
        yield url


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated, empty database: each test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        template: SqliteTemplate = request.getfixturevalue("_sqlite_template")
        return template.copy(tmp_path)
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def sqlite_url(_sqlite_template: SqliteTemplate, tmp_path: Path) -> str:
    """A migrated, empty SQLite database, for tests that are not about the database."""
    return _sqlite_template.copy(tmp_path)


@pytest.fixture
def postgres_url(_postgres_url: str) -> str:
    """A migrated, empty PostgreSQL database, for tests that are about PostgreSQL alone."""
    empty(_postgres_url)
    return _postgres_url


@pytest.fixture(params=BOTH)
def bare_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that was never migrated, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.database() as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    """The clock of ``database``, moved by hand."""
    return Clock()


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    """The store, opened on each of the two databases, with ``clock``."""
    from taskqueue.store.database import Database

    opened = Database.open(database_url, clock_offset=clock, wait=PATIENCE)
    yield opened
    opened.close()


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A write transaction that commits when the test ends."""
    with database.begin() as connection:
        yield connection


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the service says, one JSON object per line."""
    from taskqueue import telemetry

    stream = io.StringIO()
    telemetry.configure(log_format="json", stream=stream)
    yield stream
    telemetry.configure(level="error", stream=io.StringIO())
