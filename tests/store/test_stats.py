"""What a queue and a flow key say of themselves: counted where that is quick, and said so where it is not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.store import stats, tasks
from taskqueue.store.database import Database
from taskqueue.store.stats import Depth, Stats
from tests.support.builders import answer, claim_all, claim_one, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

ORIGIN = "https://target.example:443"
LATER = timedelta(hours=1)
NOTHING = Depth(scheduled=0, queued=0, running=0, retrying=0, held=0, capped=False)


def of_queue(database: Database, name: str = "mail", *, most: int = stats.MOST, project: str = "default") -> Stats:
    with database.read() as conn:
        return stats.of_queues(conn, database, project, [name], most=most)[name]


def of_flow_key(database: Database, key: str, *, most: int = stats.MOST) -> Stats:
    with database.read() as conn:
        return stats.of_flow_keys(conn, database, "default", [key], most=most)[key]


def test_a_queue_in_which_nothing_is_has_nothing_to_tell(database: Database) -> None:
    submit_one(database)
    submit_one(database, queue="mail", project="other")
    assert of_queue(database) == Stats(
        depth=NOTHING, in_flight=0, oldest_ready=None, arrived_per_second=0.0, ended_per_second=0.0
    )


def test_every_living_task_is_counted_once_by_what_keeps_it(database: Database) -> None:
    submit(database, *(new_task(queue="mail") for _ in range(3)))
    failed, running = claim_all(database, limit=2)
    settle_one(database, failed, answer(503))
    submit(database, new_task(queue="mail", delay=LATER), new_task(queue="mail", delay=LATER))
    submit(database, *(new_task(queue="mail", ordering_key="a", delay=LATER) for _ in range(4)))
    submit_one(database, queue="other")
    found = of_queue(database)
    assert found.depth == Depth(scheduled=3, queued=1, running=1, retrying=1, held=3, capped=False)
    assert found.in_flight == 1
    assert of_flow_key(database, ORIGIN).depth == Depth(
        scheduled=3, queued=2, running=1, retrying=1, held=3, capped=False
    )
    settle_one(database, running, answer())
    assert of_queue(database).in_flight == 0


def test_a_cancelled_attempt_counts_until_it_is_off_the_wire(database: Database) -> None:
    task = submit_one(database, queue="mail", flow_key="smtp")
    claim_one(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", task.id)
    for found in (of_queue(database), of_flow_key(database, "smtp")):
        assert (found.depth.running, found.in_flight) == (0, 1)


def test_the_oldest_ready_task_is_the_one_that_has_been_due_longest(database: Database, clock: Clock) -> None:
    submit_one(database, queue="mail", delay=timedelta(minutes=1))
    submit_one(database, queue="mail", delay=timedelta(minutes=3), priority=9)
    submit_one(database, queue="mail", ordering_key="a", delay=timedelta(minutes=2))
    submit_one(database, queue="mail", ordering_key="a")  # held
    assert of_queue(database).oldest_ready is None
    clock.advance(minutes=5)
    for found in (of_queue(database), of_flow_key(database, ORIGIN)):
        assert found.oldest_ready is not None
        assert timedelta(minutes=4) <= found.oldest_ready < timedelta(minutes=5)
    claim_all(database, limit=10)
    assert of_queue(database).oldest_ready is None


def test_counting_ends_and_says_so(database: Database) -> None:
    submit(database, *(new_task(queue="mail") for _ in range(8)))
    assert of_queue(database, most=8).depth == Depth(scheduled=0, queued=8, running=0, retrying=0, held=0, capped=False)
    assert of_queue(database, most=7).depth == Depth(scheduled=0, queued=7, running=0, retrying=0, held=0, capped=True)
    submit(database, *(new_task(queue="later", delay=LATER, ordering_key="a") for _ in range(8)))
    assert of_queue(database, "later", most=5).depth.capped
    assert of_flow_key(database, ORIGIN, most=5).depth.capped


@pytest.mark.parametrize("flow_key", [None, "smtp"])
def test_rates_are_those_of_the_last_minute(database: Database, flow_key: str | None) -> None:
    submit(database, *(new_task(queue="mail", flow_key=flow_key) for _ in range(30)))
    submit(database, *(new_task(queue="other", flow_key="other") for _ in range(6)))
    ended = [task for task in claim_all(database, limit=36) if task.spec.queue == "mail"][:12]
    for task in ended:
        settle_one(database, task, answer(200 if task is ended[0] else 400))
    for found in (of_queue(database), of_flow_key(database, flow_key or ORIGIN)):
        assert found.arrived_per_second == pytest.approx(0.5)
        assert found.ended_per_second == pytest.approx(0.2)


def test_what_is_older_than_a_minute_is_in_no_rate(database: Database, clock: Clock) -> None:
    submit_one(database, queue="mail")
    settle_one(database, claim_one(database), answer())
    clock.advance(minutes=2)
    found = of_queue(database)
    assert (found.arrived_per_second, found.ended_per_second) == (0.0, 0.0)


def test_of_more_arrivals_than_are_counted_the_rate_is_that_of_the_newest(database: Database) -> None:
    submit(database, *(new_task(queue="mail") for _ in range(50)))
    assert of_queue(database, most=50).arrived_per_second > 50 / 60
