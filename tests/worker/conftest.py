"""A local target, workers that are stopped when the test is over, and a database that can be struck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskqueue.store.database import Database
from tests.support.clock import Clock
from tests.support.target import LocalTarget
from tests.worker.outages import Cut, Locked, Outage
from tests.worker.running import RunningWorker

Start = Callable[..., RunningWorker]


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    with LocalTarget() as opened:
        yield opened


@pytest.fixture
def start(database: Database) -> Iterator[Start]:
    """Start a worker on ``database``, or on another one given to it; settings by name."""
    started: list[RunningWorker] = []

    def start(on: Database = database, **settings: Any) -> RunningWorker:
        started.append(RunningWorker(on, **settings))
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture
def outage(database_url: str) -> Iterator[Outage]:
    fault: Outage = Locked(database_url) if database_url.startswith("sqlite") else Cut(database_url)
    yield fault
    fault.close()


@pytest.fixture
def cut_off(outage: Outage, clock: Clock) -> Iterator[Database]:
    """The database as a worker sees it that ``outage`` will strike."""
    opened = Database.open(outage.url, clock_offset=clock)
    yield opened
    opened.close()
