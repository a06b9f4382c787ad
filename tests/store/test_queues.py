"""Queues: there once they are defined or used, and defined again without losing what is left of a rate."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select, update

from taskqueue.core.queue import Bounds, OnDeath, Queue, Rate
from taskqueue.core.task import WEBHOOK_QUEUE
from taskqueue.store import queues
from taskqueue.store.database import Database
from taskqueue.store.schema import queues as queues_table
from tests.store.pages import every_page
from tests.store.threads import at_once, results
from tests.support.builders import submit_one
from tests.support.clock import Clock

RATE = Rate(10, timedelta(seconds=2), burst=3)
BOUNDS = Bounds(concurrency=4, rate=RATE, paused=True)


def find(database: Database, name: str = "mail", *, project: str = "default") -> Queue | None:
    with database.read() as conn:
        return queues.find(conn, project, name)


def define(database: Database, name: str = "mail", *, project: str = "default", bounds: Bounds = BOUNDS) -> Queue:
    queue = Queue(project=project, name=name, bounds=bounds, defaults=b'{"retries":7}')
    with database.begin() as conn:
        return queues.define(conn, database, queue)


def set_paused(database: Database, queue: Queue, *, paused: bool) -> Queue:
    with database.begin() as conn:
        return queues.set_paused(conn, database, queue, paused=paused)


def listed(database: Database, *, limit: int = 50) -> list[str]:
    with database.read() as conn:
        pages = every_page(lambda cursor: queues.search(conn, "default", cursor=cursor, limit=limit))
    return [queue.name for page in pages for queue in page]


def draw(database: Database, tokens: float) -> None:
    with database.begin() as conn:
        conn.execute(update(queues_table).values(tokens=tokens, tokens_at=database.now(conn)))


def tokens(database: Database) -> float | None:
    with database.read() as conn:
        left: float | None = conn.execute(select(queues_table.c.tokens)).scalar_one()
    return left


def test_what_was_said_about_a_queue_is_kept(database: Database) -> None:
    defined = define(database)
    assert defined == find(database)
    assert (defined.bounds, defined.on_death, defined.defaults) == (BOUNDS, OnDeath.SKIP, b'{"retries":7}')
    with database.read() as conn:
        assert queues.defaults(conn, "default", "mail") == b'{"retries":7}'
        assert queues.defaults(conn, "other", "mail") is None


def test_a_queue_that_nobody_defined_is_there_once_a_task_names_it(database: Database) -> None:
    assert find(database) is None
    submit_one(database, queue="mail")
    assert find(database) == Queue(project="default", name="mail")
    assert find(database, project="other") is None


def test_the_default_queue_is_always_there(database: Database) -> None:
    assert find(database, "default") == Queue(project="default", name="default")


def test_defining_it_again_changes_all_but_when_it_was_made(database: Database, clock: Clock) -> None:
    first = define(database)
    clock.advance(minutes=1)
    again = define(database, bounds=Bounds())
    assert again.bounds == Bounds()
    assert again.created_at == first.created_at
    assert again.updated_at is not None
    assert first.updated_at is not None
    assert again.updated_at - first.updated_at >= timedelta(minutes=1)


@pytest.mark.parametrize(
    "rate", [Rate(11, RATE.period, RATE.burst), Rate(10, timedelta(seconds=1), 3), Rate(10, RATE.period)]
)
def test_what_is_left_of_a_rate_stays_until_the_rate_changes(database: Database, rate: Rate) -> None:
    define(database)
    draw(database, 0.5)
    define(database, bounds=Bounds(concurrency=9, rate=RATE))
    assert tokens(database) == 0.5
    define(database, bounds=Bounds(rate=rate))
    assert tokens(database) is None


def test_a_pause_changes_nothing_else(database: Database) -> None:
    queue = define(database, bounds=Bounds(concurrency=4, rate=RATE))
    draw(database, 0.5)
    paused = set_paused(database, queue, paused=True)
    assert paused.bounds == Bounds(concurrency=4, rate=RATE, paused=True)
    assert paused.defaults == queue.defaults
    assert set_paused(database, paused, paused=False).bounds == queue.bounds
    assert tokens(database) == 0.5


def test_a_queue_that_nobody_defined_can_be_paused(database: Database) -> None:
    paused = set_paused(database, Queue(project="default", name="mail"), paused=True)
    assert paused.bounds == Bounds(paused=True)
    assert find(database) == paused


def test_a_queue_that_is_forgotten_has_no_limits_any_more(database: Database) -> None:
    define(database, "default")
    with database.begin() as conn:
        assert queues.remove(conn, database, "default", "default") is True
        assert queues.remove(conn, database, "default", "default") is False
    assert find(database, "default") == Queue(project="default", name="default")


def test_queues_are_listed_by_name_defined_or_used(database: Database) -> None:
    for name in ("b", "d", "e"):
        define(database, name)
    for name in ("a", "c", "d", WEBHOOK_QUEUE):
        submit_one(database, queue=name)
    define(database, "f", project="other")
    submit_one(database, queue="g", project="other")
    for limit in (1, 2, 5, 50):
        assert listed(database, limit=limit) == ["a", "b", "c", "d", "e"]


def test_two_who_define_a_queue_at_once_both_succeed(database: Database, other: Database) -> None:
    both = [partial(define, each, bounds=Bounds(concurrency=n)) for n, each in ((1, database), (2, other))]
    for name in ("mail", "bills", "reports"):
        assert len(results(at_once([partial(one, name) for one in both]))) == 2
