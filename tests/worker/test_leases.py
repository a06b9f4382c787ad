"""Leases: kept while a worker lives, cut before they can lapse, taken over when it is dead."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import lapsed
from taskqueue.core.task import DEFAULT_PROJECT, Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.schema import ready
from tests.support.builders import claim_one, look_up
from tests.support.clock import Clock
from tests.support.target import LocalTarget, answer, held, silence
from tests.worker.conftest import Start
from tests.worker.outages import Cut, Outage
from tests.worker.running import ended, outcomes, submit_to, until


def take_away(database: Database, clock: Clock) -> None:
    """Let the lease lapse and reclaim it as another worker would, however often its owner extends it meanwhile."""
    while True:
        clock.advance(minutes=1)
        with database.begin() as conn:
            found = leases.lapsed(conn, database, limit=10)
            now = database.now(conn)
            lost = [decide(task, lapsed(), now=now, jitter=0.0, limits=Limits()) for task in found]
            if lost and not leases.settle(conn, database, lost):
                return


def lease_left(database: Database, task: Task) -> timedelta:
    """For how long the task's lease holds, unless it is extended."""
    with database.read() as conn:
        lapses_at: datetime = conn.execute(select(ready.c.lease_until).where(ready.c.task_id == task.id)).scalar_one()
        return lapses_at - database.now(conn)


def test_an_attempt_may_take_longer_than_its_lease(database: Database, target: LocalTarget, start: Start) -> None:
    target.default = answer(200, after=4.5)
    task = submit_to(database, target.url)
    start(lease_seconds=3.0)
    start()
    ended(database, task)
    assert outcomes(database, task) == ["success"]


def test_an_event_loop_that_stalls_loses_no_lease(
    database: Database, target: LocalTarget, start: Start, log: io.StringIO
) -> None:
    target.default = answer(200, after=0.5)
    task = submit_to(database, target.url)
    worker = start(lease_seconds=3.0)
    start(concurrency=1, grace_seconds=1.0)  # would take over what lapses
    until(lambda: target.hits)
    worker.stall(4.5)
    time.sleep(4.5)
    ended(database, task)
    assert outcomes(database, task) == ["success"]
    assert len(target.hits) == 1
    assert "worker.stalled" in log.getvalue()


def test_a_dead_workers_task_runs_again_once_its_lease_has_lapsed(
    database: Database, target: LocalTarget, start: Start
) -> None:
    task = submit_to(database, target.url)
    dead = claim_one(database, worker="dead", lease=timedelta(seconds=1))
    start()
    ended(database, task)
    assert outcomes(database, task) == ["worker_lost", "success"]
    with database.read() as conn:
        (_, first), (_, second) = tasks.attempts(conn, DEFAULT_PROJECT, task.id)
    assert dead.lease is not None
    assert (first.id, first.worker, first.charged) == (dead.lease.attempt_id, "dead", False)
    assert target.hits[0].header("taskqueue-attempt-id") == str(second.id)


def test_an_attempt_whose_lease_was_taken_away_is_cut_and_writes_nothing(
    database: Database, target: LocalTarget, start: Start, clock: Clock
) -> None:
    target.then(silence)
    task = submit_to(database, target.url, timeout=timedelta(seconds=30))
    start()
    until(lambda: target.hits)
    take_away(database, clock)
    until(lambda: look_up(database, task.id).state is TaskState.SUCCEEDED)
    assert outcomes(database, task) == ["worker_lost", "success"]
    until(lambda: target.open_connections <= 1)


def test_an_answer_that_comes_after_the_lease_was_lost_changes_nothing(
    database: Database, target: LocalTarget, start: Start, clock: Clock
) -> None:
    # Extensions are so rare that the worker learns of its loss only when it settles.
    late, timely = threading.Event(), threading.Event()
    target.then(held(late, 400), held(timely))
    task = submit_to(database, target.url)
    start(lease_seconds=30.0, extend_seconds=10.0, fence_margin_seconds=1.0)
    until(lambda: target.hits)
    take_away(database, clock)
    until(lambda: len(target.hits) == 2)
    late.set()
    time.sleep(0.5)
    assert look_up(database, task.id).state is TaskState.RUNNING
    timely.set()
    ended(database, task)
    assert outcomes(database, task) == ["worker_lost", "success"]


def test_a_cancelled_attempt_is_dropped_and_its_lane_goes_on(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.then(silence)
    task = submit_to(database, target.url, ordering_key="a", timeout=timedelta(seconds=30))
    next_in_line = submit_to(database, target.url, ordering_key="a")
    start(lease_seconds=20.0, fence_margin_seconds=3.0)
    until(lambda: target.hits)
    with database.begin() as conn:
        tasks.cancel(conn, database, DEFAULT_PROJECT, task.id)
    assert look_up(database, task.id).state is TaskState.CANCELLED
    ended(database, next_in_line)
    assert outcomes(database, task) == ["cancelled"]
    assert look_up(database, task.id).state is TaskState.CANCELLED
    until(lambda: target.open_connections <= 1)


def test_a_worker_cut_off_from_the_database_drops_its_request_before_the_lease_lapses(
    database: Database, cut_off: Database, outage: Outage, target: LocalTarget, start: Start
) -> None:
    target.then(silence)
    task = submit_to(database, target.url, timeout=timedelta(seconds=30))
    start(cut_off, lease_seconds=6.0, extend_seconds=0.5, fence_margin_seconds=3.0)
    until(lambda: target.hits)
    time.sleep(1.2)  # extended at least once
    outage.begin()
    until(lambda: target.open_connections == 0)
    dropped_at = time.monotonic()
    assert lease_left(database, task) > timedelta(0)
    outage.end()
    ended(database, task)
    assert outcomes(database, task) == ["worker_lost", "success"]
    assert target.hits[1].at > dropped_at


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_nothing_is_claimed_while_leases_cannot_be_extended(
    database_url: str, target: LocalTarget, start: Start, log: io.StringIO
) -> None:
    target.default = silence
    network = Cut(database_url)
    with closing(network), closing(Database.open(network.url)) as database:
        network.catch("set lease_until = ")
        submit_to(database, target.url, timeout=timedelta(seconds=30))
        worker = start(database, lease_seconds=2.0, grace_seconds=0.1)
        target.wait_for(lambda: target.hits)
        until(lambda: target.open_connections == 0)  # it could not be extended
        # The beat is under way still. Whatever was claimed now would be cut in the same way, again and again.
        waiting = submit_to(database, target.url, timeout=timedelta(seconds=30))
        time.sleep(1.5)
        assert len(target.hits) == 1
        assert look_up(database, waiting.id).state is TaskState.QUEUED
        assert "until leases can be extended again" in log.getvalue()
        network.end()
        until(lambda: len(target.hits) > 1)
        worker.stop()


def test_an_outcome_that_is_known_survives_an_outage_of_the_database(
    database: Database, cut_off: Database, outage: Outage, target: LocalTarget, start: Start
) -> None:
    target.default = answer(200, after=0.5)
    task = submit_to(database, target.url)
    start(cut_off, lease_seconds=10.0)
    until(lambda: target.hits)
    outage.begin()
    time.sleep(2.5)
    outage.end()
    assert ended(database, task).state is TaskState.SUCCEEDED
    assert outcomes(database, task) == ["success"]
    assert len(target.hits) == 1


def test_work_goes_on_by_itself_when_the_database_is_back(
    database: Database, cut_off: Database, outage: Outage, target: LocalTarget, start: Start, log: io.StringIO
) -> None:
    start(cut_off)
    until(lambda: "worker.started" in log.getvalue())
    time.sleep(0.5)
    outage.begin(reset=True)
    time.sleep(4)
    outage.end()
    task = submit_to(database, target.url)
    assert ended(database, task).state is TaskState.SUCCEEDED
    # Said once when it began and once when it was over, however often it was tried in between.
    said = [json.loads(line) for line in log.getvalue().splitlines()]
    of_claims = [line["event"] for line in said if line.get("what") == "claim"]
    assert of_claims == ["store.unavailable", "worker.recovered"]
    assert "worker.fault" not in {line["event"] for line in said}
