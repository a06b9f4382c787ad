"""Steps of many tasks at once, for tests that need a crowd rather than a road."""

from __future__ import annotations

from collections.abc import Sequence

from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome, lapsed
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Task, TaskId, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from tests.support.builders import answer, claim_all


def drain(database: Database, *, limit: int, worker: str) -> list[Task]:
    """Claim until nothing is left; each claim must keep to its limit."""
    found: list[Task] = []
    while claimed := claim_all(database, limit=limit, worker=worker):
        assert len(claimed) <= limit
        found += claimed
    return found


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


def reclaim(database: Database, limits: Limits | None = None) -> list[Task]:
    """As a worker does it: what lapsed is lost, and returned; of what was cancelled nothing is left."""
    with database.begin() as conn:
        now = database.now(conn)
        found = leases.lapsed(conn, database, limit=100)
        leases.let_go(
            conn, database, [task.lease for task in found if task.lease and task.state is TaskState.CANCELLED]
        )
        lost = [task for task in found if task.state is TaskState.RUNNING]
        leases.settle(
            conn, database, [decide(task, lapsed(), now=now, jitter=0.0, limits=limits or Limits()) for task in lost]
        )
    return lost
