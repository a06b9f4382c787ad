"""A worker that is told to stop: what runs is finished, what was not begun is given back, what is cut is on record."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskqueue.core.task import TaskState
from taskqueue.store.database import Database
from tests.support.builders import look_up
from tests.support.target import LocalTarget, answer, held, silence
from tests.worker.conftest import Start
from tests.worker.running import QUICK, outcomes, submit_to, until

GRACE: float = QUICK["grace_seconds"]  # who has nothing left to do ends before it is over


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a target that lets nobody connect, and refuses nobody either: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/work"
        for each in crowd:
            each.close()


def test_what_runs_is_finished_and_nothing_new_is_begun(database: Database, target: LocalTarget, start: Start) -> None:
    finish = threading.Event()
    target.default = held(finish)
    task = submit_to(database, target.url)
    worker = start()
    until(lambda: target.hits)
    worker.drain()
    later = submit_to(database, target.url)
    finish.set()
    assert worker.wait() < GRACE
    assert look_up(database, task.id).state is TaskState.SUCCEEDED
    assert look_up(database, later.id).state is TaskState.QUEUED
    assert len(target.hits) == 1


def test_an_idle_worker_ends_at_once(database: Database, start: Start) -> None:
    worker = start()
    time.sleep(0.5)
    worker.drain()
    assert worker.wait() < GRACE


def test_leases_are_extended_until_the_last_attempt_has_ended(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.default = answer(200, after=4.5)
    task = submit_to(database, target.url)
    worker = start(lease_seconds=3.0)
    start(concurrency=1)  # would take over whatever lapses
    until(lambda: target.hits)
    worker.drain()
    worker.wait()
    until(lambda: look_up(database, task.id).state.ended)
    assert outcomes(database, task) == ["success"]
    assert len(target.hits) == 1


def test_what_was_sent_and_outlives_the_grace_is_cut_and_counts_as_lost(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.default = silence
    task = submit_to(database, target.url, timeout=timedelta(seconds=30))
    worker = start(grace_seconds=0.4)
    until(lambda: target.hits)
    worker.drain()
    assert 0.4 <= worker.wait() < 0.4 + GRACE
    assert outcomes(database, task) == ["interrupted"]
    back = look_up(database, task.id)
    assert (back.state, back.progress.lost, back.progress.charged) == (TaskState.QUEUED, 1, 0)
    until(lambda: target.open_connections == 0)


def test_what_was_not_yet_sent_is_released_free_of_charge(database: Database, deaf: str, start: Start) -> None:
    task = submit_to(database, deaf, timeout=timedelta(seconds=30))
    worker = start(grace_seconds=0.4)
    until(lambda: look_up(database, task.id).state is TaskState.RUNNING)
    worker.drain()
    assert worker.wait() < 0.4 + GRACE
    assert outcomes(database, task) == ["released"]
    back = look_up(database, task.id)
    assert (back.state, back.progress.lost, back.progress.charged) == (TaskState.QUEUED, 0, 0)


def test_everything_is_settled_before_a_busy_worker_ends(database: Database, target: LocalTarget, start: Start) -> None:
    target.default = answer(200, after=0.02)
    submitted = [submit_to(database, target.url) for _ in range(60)]
    worker = start(concurrency=5)
    until(lambda: len(target.hits) > 10)
    worker.drain()
    worker.wait()
    states = [look_up(database, task.id).state for task in submitted]
    assert TaskState.RUNNING not in states
    assert states.count(TaskState.SUCCEEDED) == len(target.hits)


def test_slots_that_come_free_while_a_worker_drains_take_nothing(
    database: Database, target: LocalTarget, start: Start
) -> None:
    gates = [threading.Event(), threading.Event()]
    target.then(*map(held, gates))
    running = [submit_to(database, target.url, flow_key=f"{number}") for number in range(2)]
    worker = start(concurrency=2)
    until(lambda: len(target.hits) == 2)
    waiting = submit_to(database, target.url)
    worker.drain()
    for gate in gates:
        gate.set()
        time.sleep(0.3)
    assert worker.wait() < GRACE
    assert {look_up(database, task.id).state for task in running} == {TaskState.SUCCEEDED}
    assert look_up(database, waiting.id).state is TaskState.QUEUED
    assert outcomes(database, waiting) == []
