"""When a worker claims, how much, and what it says while it cannot."""

from __future__ import annotations

import io
import json
import threading
import time
from datetime import timedelta

from taskqueue.core.reason import DeadReason
from taskqueue.core.task import TaskState
from taskqueue.store.database import Database
from tests.support.builders import look_up
from tests.support.clock import Clock
from tests.support.target import LocalTarget, Peer, answer, held
from tests.worker.conftest import Start
from tests.worker.running import ended, submit_to, until


class Crowd:
    """A target's behaviour that counts how many requests are under way at a time, and waits for ``enough`` of them."""

    def __init__(self, enough: int) -> None:
        self.most = 0
        self._now, self._enough = 0, enough
        self._lock, self._full = threading.Lock(), threading.Event()

    def __call__(self, target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self.most >= self._enough:
                self._full.set()
        self._full.wait(10)
        time.sleep(0.05)
        with self._lock:
            self._now -= 1
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_no_more_attempts_run_than_there_are_slots(database: Database, target: LocalTarget, start: Start) -> None:
    crowd = target.default = Crowd(enough=3)
    submitted = [submit_to(database, target.url, flow_key=f"{number % 3}") for number in range(15)]
    start(concurrency=3)
    for task in submitted:
        assert ended(database, task).state is TaskState.SUCCEEDED
    assert crowd.most == 3
    assert len(target.hits) == 15


def test_one_flow_key_never_takes_the_last_slot(database: Database, target: LocalTarget, start: Start) -> None:
    gate = threading.Event()
    target.default = held(gate)
    for _ in range(9):
        submit_to(database, target.url, flow_key="hangs")
    start(concurrency=4)
    until(lambda: len(target.hits) == 3)
    time.sleep(0.3)
    assert len(target.hits) == 3
    target.default = answer(200)
    try:
        assert ended(database, submit_to(database, target.url, flow_key="sound")).state is TaskState.SUCCEEDED
    finally:
        gate.set()


def test_several_workers_share_the_work_and_none_does_it_twice(
    database: Database, target: LocalTarget, start: Start
) -> None:
    submitted = [submit_to(database, target.url) for _ in range(60)]
    for _ in range(3):
        start(concurrency=4, claim_batch=2)
    for task in submitted:
        assert ended(database, task).state is TaskState.SUCCEEDED
    assert len(target.hits) == 60
    assert len({hit.header("taskqueue-task-id") for hit in target.hits}) == 60


def test_an_idle_worker_is_woken_by_a_submit(database: Database, target: LocalTarget, start: Start) -> None:
    start()
    taken = []
    for _ in range(5):
        time.sleep(0.9)  # idle for so long that it polls but once a second
        target.hits.clear()
        submitted_at = time.monotonic()
        submit_to(database, target.url)
        until(lambda: target.hits)
        taken.append(target.hits[0].at - submitted_at)
    # By polling alone, hardly four of five would come in half the time between two looks.
    assert sorted(taken)[3] < 0.45


def test_a_delayed_task_starts_on_time_without_anybody_telling(
    database: Database, target: LocalTarget, start: Start
) -> None:
    start()
    submitted_at = time.monotonic()
    submit_to(database, target.url, delay=timedelta(seconds=1.5))
    target.wait_for(lambda: target.hits)
    assert 1.5 <= target.hits[0].at - submitted_at < 15


def test_a_task_past_its_expiry_dies_without_an_attempt(
    database: Database, target: LocalTarget, start: Start, clock: Clock
) -> None:
    task = submit_to(database, target.url, delay=timedelta(hours=2), expires_in=timedelta(hours=1))
    start()
    time.sleep(0.5)
    assert look_up(database, task.id).state is TaskState.QUEUED
    clock.advance(hours=3)
    dead = ended(database, task)
    assert dead.ending is not None
    assert dead.ending.reason is DeadReason.EXPIRED
    assert target.hits == []


def test_the_log_names_tasks_and_attempts_but_shows_no_payload(
    database: Database, target: LocalTarget, start: Start, log: io.StringIO
) -> None:
    target.then(answer(500, b"secret-answer"))
    task = submit_to(database, f"{target.url}?token=secret-query", body=b'"secret-payload"', retries=0)
    start(allowed_targets="")
    ended(database, task)
    start()
    said = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {"worker.started", "target.forbidden"} <= {line["event"] for line in said}
    (forbidden,) = [line for line in said if line["event"] == "target.forbidden"]
    assert forbidden["task_id"] == str(task.id)
    assert "secret" not in log.getvalue()
