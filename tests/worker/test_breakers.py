"""Breakers at work: real dead sockets, real workers, both databases."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from taskqueue.core.breaker import FAILURES, Breaker, BreakerState, Mark, state_at
from taskqueue.core.outcome import Sign
from taskqueue.core.policy import OnUnknown, Policy, Reconcile
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.target import parse_target
from taskqueue.core.task import Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.core.verdict import Ruling, Verdict, When
from taskqueue.store import origins
from taskqueue.store.database import Database
from taskqueue.worker.breakers import Breakers
from taskqueue.worker.chores import Chores
from tests.support.builders import look_up
from tests.support.clock import Clock
from tests.support.target import LocalTarget, answer, hang_up, held
from tests.worker.conftest import Start
from tests.worker.outages import Outage
from tests.worker.running import submit_to, until

ORIGIN = "https://target.example:443"
NOW = datetime.now(UTC)
SLOTS = 20
SOON = Backoff(type=BackoffType.FIXED, initial=timedelta(seconds=0.05), jitter=Jitter.NONE)
LATER = Backoff(type=BackoffType.FIXED, initial=timedelta(minutes=30), jitter=Jitter.NONE)


@contextmanager
def dead_port() -> Iterator[str]:
    """The URL of a port that nobody else can listen on meanwhile, and that refuses every connection."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/work"


def breaker(database: Database, url: str) -> Breaker | None:
    origin = parse_target(url).origin
    with database.read() as conn:
        return origins.find(conn, "default", [origin]).get(origin)


def state(database: Database, url: str) -> BreakerState | None:
    with database.read() as conn:
        now = database.now(conn)
    found = breaker(database, url)
    return found and state_at(found, now)


def states(database: Database, tasks: list[Task]) -> list[TaskState]:
    return [look_up(database, task.id).state for task in tasks]


def numbers(database: Database, tasks: list[Task]) -> list[int]:
    return [look_up(database, task.id).progress.number for task in tasks]


def pass_open_spans(database: Database, clock: Clock, url: str) -> None:
    """Move the clock whenever the breaker is open, until it is not."""
    while (found := breaker(database, url)) and found.state is BreakerState.OPEN:
        if state(database, url) is BreakerState.OPEN:
            clock.advance(seconds=5)
        time.sleep(0.05)


def test_a_dead_host_costs_its_tasks_hardly_any_attempts(
    database: Database, start: Start, target: LocalTarget, clock: Clock
) -> None:
    with dead_port() as url:
        waiting = [submit_to(database, url, backoff=LATER) for _ in range(150)]
        start(concurrency=SLOTS)
        until(lambda: state(database, url) is BreakerState.OPEN)
        healthy = [submit_to(database, target.url) for _ in range(30)]
        until(lambda: states(database, healthy) == [TaskState.SUCCEEDED] * 30)
        # What was under way when the breaker opened, and what one claim may have taken meanwhile.
        assert sum(numbers(database, waiting)) <= FAILURES + 2 * SLOTS
        assert set(states(database, waiting)) == {TaskState.QUEUED}


def test_probes_of_a_dead_host_go_one_at_a_time_and_ever_more_rarely(
    database: Database, start: Start, clock: Clock
) -> None:
    with dead_port() as url:
        waiting = [submit_to(database, url, backoff=LATER) for _ in range(60)]
        start(concurrency=SLOTS)
        until(lambda: state(database, url) is BreakerState.OPEN)
        until(lambda: TaskState.RUNNING not in states(database, waiting))
        before = sum(numbers(database, waiting))
        for trips in range(2, 5):
            opened = breaker(database, url)
            assert opened is not None and opened.open_until is not None
            clock.advance(seconds=(opened.open_until - opened.changed_at).total_seconds())
            until(lambda trips=trips: (found := breaker(database, url)) and found.trips == trips)  # type: ignore[misc]
        assert sum(numbers(database, waiting)) - before == 3


def test_a_host_that_comes_back_is_found_and_everything_is_done(
    database: Database, start: Start, target: LocalTarget, clock: Clock, log: io.StringIO
) -> None:
    target.default = hang_up
    waiting = [submit_to(database, target.url, backoff=LATER, retries=9) for _ in range(80)]
    start(concurrency=SLOTS)
    until(lambda: state(database, target.url) is BreakerState.OPEN)
    until(lambda: TaskState.RUNNING not in states(database, waiting))
    untouched = [task for task in waiting if look_up(database, task.id).progress.number == 0]
    assert len(untouched) >= 80 - FAILURES - 2 * SLOTS
    target.default = answer()
    pass_open_spans(database, clock, target.url)
    until(lambda: set(states(database, untouched)) == {TaskState.SUCCEEDED})
    assert set(numbers(database, untouched)) == {1}, "the wait for the host used up no attempt"
    clock.advance(minutes=6)
    submit_to(database, target.url)
    until(lambda: "breaker.closed" in log.getvalue())
    assert state(database, target.url) is BreakerState.CLOSED
    events = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [(each["event"], each["origin"]) for each in events if each["event"].startswith("breaker.")]
    assert told == [("breaker.opened", target.origin), ("breaker.closed", target.origin)]


def test_while_a_probe_is_on_its_way_nobody_else_calls(
    database: Database, start: Start, target: LocalTarget, clock: Clock
) -> None:
    target.default = hang_up
    waiting = [submit_to(database, target.url, backoff=LATER, retries=9) for _ in range(60)]
    start(concurrency=SLOTS)
    until(lambda: state(database, target.url) is BreakerState.OPEN)
    until(lambda: TaskState.RUNNING not in states(database, waiting))
    before, gate = len(target.hits), threading.Event()
    target.default = held(gate)
    clock.advance(seconds=5)
    until(lambda: len(target.hits) > before)
    time.sleep(0.5)  # ample for others, if they were let
    assert len(target.hits) == before + 1
    gate.set()
    until(lambda: len(target.hits) > before + 3)


def test_throttling_and_rejections_open_nothing(database: Database, start: Start, target: LocalTarget) -> None:
    target.then(*[answer(429)] * FAILURES, *[answer(404)] * FAILURES)
    waiting = [submit_to(database, target.url, backoff=SOON) for _ in range(2 * FAILURES)]
    start()
    until(lambda: all(each.ended for each in states(database, waiting)))
    time.sleep(0.6)  # every report is in by then
    assert breaker(database, target.url) is None


def test_errors_that_the_caller_calls_a_success_open_nothing(
    database: Database, start: Start, target: LocalTarget
) -> None:
    target.default = answer(500)
    lies = Policy(verdicts=(Verdict(when=When(status="500"), outcome=Ruling.SUCCESS),))
    waiting = [submit_to(database, target.url, policy=lies) for _ in range(2 * FAILURES)]
    start()
    until(lambda: set(states(database, waiting)) == {TaskState.SUCCEEDED})
    time.sleep(0.6)
    assert breaker(database, target.url) is None


def test_webhooks_count_like_tasks(database: Database, start: Start, target: LocalTarget) -> None:
    with dead_port() as url:
        for _ in range(2 * FAILURES):
            submit_to(database, target.url, webhook_url=url)
        start()
        until(lambda: state(database, url) is BreakerState.OPEN)
    assert breaker(database, target.url) is None


def test_asking_whether_the_work_was_done_counts_for_the_host_that_is_asked(
    database: Database, start: Start, target: LocalTarget
) -> None:
    target.then(hang_up, *[answer()] * 10)
    with dead_port() as url:
        asking = Policy(reconcile=Reconcile(url=url, timeout=timedelta(seconds=5), on_unknown=OnUnknown("retry")))
        submit_to(database, target.url, policy=asking, backoff=SOON)
        start()
        until(lambda: breaker(database, url))
        found = breaker(database, target.url)
    assert found is not None and found.failures == 1


def test_switched_off_nothing_is_counted(database: Database, start: Start) -> None:
    with dead_port() as url:
        waiting = [submit_to(database, url, backoff=LATER) for _ in range(60)]
        start(concurrency=SLOTS, breaker="off")
        until(lambda: set(numbers(database, waiting)) == {1})
        time.sleep(0.6)
        assert breaker(database, url) is None


def test_a_worker_that_has_them_switched_off_forgets_those_there_are(database: Database) -> None:
    with database.begin() as conn:
        marks = [Mark(database.now(conn), failed=True)] * FAILURES
        origins.report(conn, database, {("default", ORIGIN): marks}, jitter=0)
    kept, quick = timedelta(days=1), timedelta(seconds=0.05)
    chores = Chores(
        database,
        limits=Limits(),
        reclaim_every=kept,
        keep_ended=kept,
        keep_dead=kept,
        breakers=False,
        prune_every=quick,
    )
    chores.start()
    until(lambda: breaker(database, "https://target.example/") is None)
    chores.thread.stop()
    chores.thread.join(10)


# The collector by itself.


async def wait_for(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


def found_of(database: Database) -> Breaker | None:
    return breaker(database, "https://target.example/")


def test_a_failure_is_told_before_its_attempt_gives_its_slot_back(database: Database) -> None:
    async def work() -> int | None:
        breakers = Breakers(database)
        await breakers.mark("default", ORIGIN, Sign.FAILURE, started_at=NOW)
        found = found_of(database)
        breakers.thread.stop()
        return found and found.failures

    assert asyncio.run(work()) == 1


def test_what_follows_within_half_a_second_is_told_together_and_nobody_waits(database: Database) -> None:
    async def work() -> list[int]:
        breakers = Breakers(database)
        seen = []
        await breakers.mark("default", ORIGIN, Sign.FAILURE, started_at=NOW)
        for _ in range(4):
            for sign in Sign:
                await breakers.mark("default", ORIGIN, sign, started_at=NOW)
            found = found_of(database)
            seen.append(found.failures if found else 0)
        await wait_for(lambda: (found := found_of(database)) and (found.failures, found.calls) == (5, 9))
        breakers.thread.stop()
        return seen

    assert asyncio.run(work()) == [1, 1, 1, 1]


def test_the_tenth_failure_is_told_at_once(database: Database) -> None:
    async def work() -> BreakerState | None:
        breakers = Breakers(database)
        for _ in range(FAILURES + 1):
            await breakers.mark("default", ORIGIN, Sign.FAILURE, started_at=NOW)
        found = found_of(database)
        breakers.thread.stop()
        return found and found.state

    assert asyncio.run(work()) is BreakerState.OPEN


def test_a_store_that_is_away_loses_marks_and_holds_nobody_up(cut_off: Database, outage: Outage) -> None:
    async def work() -> float:
        breakers = Breakers(cut_off)
        outage.begin()
        began = time.monotonic()
        await breakers.mark("default", ORIGIN, Sign.FAILURE, started_at=NOW)
        waited = time.monotonic() - began
        await asyncio.sleep(1)
        outage.end()
        await breakers.mark("default", ORIGIN, Sign.FAILURE, started_at=NOW)
        await wait_for(lambda: found_of(cut_off))
        breakers.thread.stop()
        return waited

    assert asyncio.run(work()) < 2


def test_a_sign_of_life_costs_next_to_nothing(sqlite_url: str) -> None:
    async def work() -> float:
        database = Database.open(sqlite_url)
        breakers, began = Breakers(database), time.perf_counter()
        for _ in range(20_000):
            await breakers.mark("default", ORIGIN, Sign.LIFE, started_at=NOW)
        spent = time.perf_counter() - began
        breakers.thread.stop()
        database.close()
        return spent / 20_000

    assert asyncio.run(work()) < 10e-6
