"""Rates of queues and flow keys: never more starts than the bucket gave, whoever claims."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from taskqueue.core.queue import Rate
from taskqueue.core.task import Task
from taskqueue.store.database import Database
from taskqueue.store.schema import flow_keys, queues
from tests.store.limits import claim, fill, limit_flow, limit_queue, to_host
from tests.store.steps import settle_all
from tests.store.threads import at_once, results
from tests.support.builders import submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
Limit = Callable[..., None]
EITHER = pytest.mark.parametrize("limit", [limit_queue, limit_flow])
SECOND = timedelta(seconds=1)
# So slow that nothing is refilled while a test runs, unless it moves the clock.
SLOW = Rate(10, timedelta(hours=10), burst=4)


def tokens(database: Database, table: Any) -> float:
    with database.read() as conn:
        left: float = conn.execute(select(table.c.tokens)).scalar_one()
    return left


def started(found: list[Task]) -> list[datetime]:
    return sorted(task.started_at for task in found if task.started_at is not None)


@EITHER
def test_as_many_start_at_once_as_the_bucket_holds(database: Database, limit: Limit) -> None:
    limit(database, rate=SLOW)
    fill(database, 10)
    assert len(claim(database, 3).tasks) == 3
    assert len(claim(database).tasks) == 1
    assert claim(database).tasks == []


def test_what_is_drawn_is_what_was_leased(database: Database) -> None:
    limit_queue(database, rate=SLOW)
    limit_flow(database, rate=Rate(10, timedelta(hours=10)))
    fill(database, 3)
    assert len(claim(database).tasks) == 3
    assert tokens(database, queues) == pytest.approx(1, abs=0.01)
    assert tokens(database, flow_keys) == pytest.approx(7, abs=0.01)
    assert claim(database).tasks == []
    assert tokens(database, queues) == pytest.approx(1, abs=0.01)


@EITHER
def test_a_token_that_comes_back_lets_one_start(database: Database, clock: Clock, limit: Limit) -> None:
    limit(database, rate=SLOW)
    fill(database, 10)
    claim(database)
    for _ in range(2):
        clock.advance(minutes=58)
        assert claim(database).tasks == []
        clock.advance(minutes=3)
        assert len(claim(database).tasks) == 1
    clock.advance(hours=100)
    assert len(claim(database).tasks) == 4


@EITHER
def test_a_claim_that_met_an_empty_bucket_tells_when_the_next_token_comes(
    database: Database, clock: Clock, limit: Limit
) -> None:
    limit(database, rate=SLOW)
    fill(database, 10)
    claim(database)
    due = claim(database).next_due
    assert due is not None
    assert timedelta(minutes=59) < due <= timedelta(minutes=60)
    clock.advance(seconds=due.total_seconds() + 0.001)
    assert len(claim(database).tasks) == 1


def test_a_burst_of_one_spaces_starts_evenly(database: Database, clock: Clock) -> None:
    limit_queue(database, rate=Rate(60, timedelta(minutes=1), burst=1))
    fill(database, 20)
    found: list[Task] = []
    for _ in range(40):
        found += claim(database).tasks
        clock.advance(seconds=0.25)
    times = started(found)
    assert 9 <= len(times) <= 12
    assert min(later - former for former, later in itertools.pairwise(times)) >= 0.999 * SECOND


def test_of_two_rates_the_slower_one_counts(database: Database, clock: Clock) -> None:
    limit_queue(database, rate=Rate(10, timedelta(hours=10), burst=6))
    limit_flow(database, rate=SLOW)
    fill(database, 10)
    fill(database, 10, **to_host("another.example"))
    found = [task.spec.target_host for task in claim(database).tasks]
    assert len(found) == 6
    assert found.count("target.example") <= 4
    assert claim(database).tasks == []
    clock.advance(hours=1, minutes=1)
    assert len(claim(database).tasks) == 1


def test_what_ends_gives_no_token_back(database: Database) -> None:
    limit_flow(database, rate=SLOW)
    fill(database, 10)
    settle_all(database, claim(database).tasks, 200)
    assert claim(database).tasks == []


def test_a_rate_holds_back_nobody_else(database: Database) -> None:
    limit_queue(database, "mail", rate=Rate(1, timedelta(hours=1)))
    fill(database, 3, queue="mail")
    fill(database, 3, queue="mail", project="other")
    fill(database, 3)
    assert len(claim(database).tasks) == 7


def test_a_task_that_comes_while_the_bucket_is_empty_waits_for_its_token(database: Database, clock: Clock) -> None:
    limit_flow(database, rate=SLOW)
    fill(database, 5)
    claim(database)
    submit_one(database, priority=9)
    again = claim(database)
    assert again.tasks == []
    assert again.next_due is not None
    assert again.next_due > timedelta(minutes=59)
    clock.advance(hours=1, minutes=1)
    (task,) = claim(database).tasks
    assert task.spec.priority == 9


@EITHER
def test_a_rate_that_is_raised_lets_more_start_at_once(database: Database, limit: Limit) -> None:
    limit(database, rate=Rate(1, timedelta(hours=10)))
    fill(database, 10)
    assert len(claim(database).tasks) == 1
    assert claim(database).tasks == []
    limit(database, rate=Rate(6, timedelta(hours=1)))
    assert len(claim(database).tasks) == 6


@pytest.mark.parametrize("burst", [1, 7])
def test_many_claimers_together_never_start_more_than_the_rate_allows(
    database: Database, other: Database, burst: int
) -> None:
    rate = Rate(40, SECOND, burst)
    limit_flow(database, rate=rate)
    fill(database, 200)

    def claim_for_a_while(store: Database) -> list[Task]:
        found: list[Task] = []
        for _ in range(25):
            found += claim(store, 5).tasks
        return found

    stores = (database, other, database, other)
    times = started(
        [task for each in results(at_once([partial(claim_for_a_while, store) for store in stores])) for task in each]
    )
    assert len(times) > burst
    for first, start in enumerate(times):
        for last, end in enumerate(times[first:], start=first):
            allowed = burst + (end - start) / SECOND * rate.limit
            assert last - first + 1 <= allowed + 1e-6 or last == first, "more started than were refilled"
