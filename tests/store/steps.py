"""Steps of many tasks at once, for tests that need a crowd rather than a road."""

from __future__ import annotations

from collections.abc import Sequence

from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Task, TaskId
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from tests.support.builders import answer


def decided(database: Database, task: Task, outcome: Outcome, *, jitter: float = 0.5) -> Settlement:
    """What ``outcome`` makes of ``task`` now."""
    with database.read() as conn:
        now = database.now(conn)
    return decide(task, outcome, now=now, jitter=jitter, limits=Limits())


def settle(database: Database, *settlements: Settlement) -> set[TaskId]:
    """Write these in one transaction; return the tasks of the stale ones."""
    with database.begin() as conn:
        return leases.settle(conn, database, settlements)


def settle_all(database: Database, running: Sequence[Task], status: int) -> None:
    """Every one of these attempts was answered with ``status``."""
    stale = settle(database, *(decided(database, task, answer(status)) for task in running))
    assert stale == set(), "the leases of a test hold"
