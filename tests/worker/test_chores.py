"""Upkeep: each chore does its work, and none of them can keep the others from theirs."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from taskqueue.core.queue import OnDeath, Queue
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import DEFAULT_PROJECT, Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import operations, queues, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.worker.chores import Chores
from tests.support.builders import answer as answered
from tests.support.builders import claim_all, claim_one, kill_one, look_up, settle_one, submit_one
from tests.support.clock import Clock
from tests.worker.running import outcomes, until


@pytest.fixture
def chores(database: Database) -> Iterator[Chores]:
    """All chores, as often as a test has patience for."""
    quick = timedelta(seconds=0.1)
    kept = timedelta(days=14)
    made = Chores(
        database, limits=Limits(), reclaim_every=quick, prune_every=quick, keep_ended=kept, keep_dead=2 * kept
    )
    yield made
    made.thread.stop()
    made.thread.join(30)


def known(database: Database, task: Task) -> bool:
    with database.read() as conn:
        return tasks.get(conn, DEFAULT_PROJECT, task.id) is not None


def test_lapsed_leases_are_settled_as_lost_and_wait_no_longer(database: Database, chores: Chores, clock: Clock) -> None:
    for _ in range(3):
        submit_one(database)
    lost = claim_all(database)
    chores.start()
    assert {look_up(database, task.id).state for task in lost} == {TaskState.RUNNING}
    clock.advance(seconds=16)
    until(lambda: {look_up(database, task.id).state for task in lost} == {TaskState.QUEUED})
    assert {outcome for task in lost for outcome in outcomes(database, task)} == {"worker_lost"}
    assert {task.id for task in claim_all(database)} == {task.id for task in lost}


def test_a_task_that_kills_its_worker_again_and_again_dies(database: Database, chores: Chores, clock: Clock) -> None:
    task = submit_one(database)
    chores.start()
    for _ in range(4):
        claim_one(database)
        clock.advance(seconds=16)
        until(lambda: look_up(database, task.id).state is not TaskState.RUNNING)
    dead = look_up(database, task.id)
    assert dead.ending is not None
    assert dead.ending.reason is DeadReason.LOST
    assert outcomes(database, task) == ["worker_lost"] * 4


def test_the_tombstone_of_a_cancelled_task_lapses_too(database: Database, chores: Chores, clock: Clock) -> None:
    cancelled = submit_one(database, ordering_key="a")
    waiting = submit_one(database, ordering_key="a")
    claim_one(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, DEFAULT_PROJECT, cancelled.id)
    chores.start()
    assert claim_all(database) == []
    clock.advance(seconds=16)
    until(lambda: [task.id for task in claim_all(database)] == [waiting.id])
    assert outcomes(database, cancelled) == ["cancelled"]


def test_what_waits_behind_a_dead_task_is_parked_and_told_of(
    database: Database, chores: Chores, log: io.StringIO
) -> None:
    set_on_death(database, OnDeath.PARK)
    first, *others = (submit_one(database, ordering_key="a") for _ in range(4))
    settle_one(database, claim_one(database), answered(400))
    late = submit_one(database, ordering_key="a")
    chores.start()
    until(lambda: [task.id for task in claim_all(database)] == [late.id])
    endings = [look_up(database, task.id).ending for task in others]
    assert {ending.reason for ending in endings if ending} == {DeadReason.PARKED}
    (told,) = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "tasks.parked"]
    assert (told["task_id"], told["queue"], told["count"]) == (str(first.id), "default", 3)


def test_a_key_whose_queue_skips_by_now_goes_on(database: Database, chores: Chores) -> None:
    set_on_death(database, OnDeath.BLOCK)
    submit_one(database, ordering_key="a")
    second = submit_one(database, ordering_key="a")
    settle_one(database, claim_one(database), answered(400))
    chores.start()
    set_on_death(database, OnDeath.SKIP)
    until(lambda: [task.id for task in claim_all(database)] == [second.id])


def set_on_death(database: Database, on_death: OnDeath) -> None:
    with database.begin() as conn:
        queues.define(conn, database, Queue(project=DEFAULT_PROJECT, name="default", on_death=on_death))


def test_bulk_work_is_carried_on_until_it_is_done(database: Database, chores: Chores) -> None:
    dead = [kill_one(database) for _ in range(3)]
    with database.begin() as conn:
        operation = operations.start_redrive(conn, database, DEFAULT_PROJECT, DeadLetterFilter(), rate=None)
    chores.start()

    def finished() -> bool:
        with database.read() as conn:
            found = operations.get(conn, DEFAULT_PROJECT, operation.id)
        return found is not None and found.finished_at is not None

    until(finished)
    assert {look_up(database, task.id).state for task in dead} == {TaskState.QUEUED}


def test_what_is_old_is_forgotten_and_dead_letters_later(database: Database, chores: Chores, clock: Clock) -> None:
    dead = kill_one(database)
    done = submit_one(database)
    settle_one(database, claim_one(database), answered())
    chores.start()
    clock.advance(days=15)
    until(lambda: not known(database, done))
    assert known(database, dead)
    clock.advance(days=15)
    until(lambda: not known(database, dead))


def test_rows_that_cannot_be_settled_are_not_tried_without_a_pause(
    database: Database, clock: Clock, log: io.StringIO
) -> None:
    submitted = [submit_one(database) for _ in range(operations.BATCH)]
    claim_all(database, limit=operations.BATCH)
    clock.advance(seconds=16)
    far, kept = timedelta(hours=1), timedelta(days=14)
    every = timedelta(seconds=3)
    chores = Chores(
        database, limits=Limits(), reclaim_every=every, prune_every=far, keep_ended=kept, keep_dead=2 * kept
    )

    def tries() -> int:
        said = [json.loads(line) for line in log.getvalue().splitlines()]
        refused = [line["task_id"] for line in said if line["event"] == "settle.refused"]
        return refused.count(str(submitted[-1].id))

    with database.begin() as conn:
        conn.execute(text("alter table attempts rename to attempts_away"))
    try:
        chores.start()
        until(lambda: tries() == 1)
        time.sleep(2)
        assert tries() == 1
    finally:
        chores.thread.stop()
        chores.thread.join(30)
        with database.begin() as conn:
            conn.execute(text("alter table attempts_away rename to attempts"))


def test_a_chore_that_fails_does_not_stop_the_others(database: Database, chores: Chores, clock: Clock) -> None:
    task = submit_one(database)
    claim_one(database)
    with database.begin() as conn:
        conn.execute(text("alter table operations rename to operations_away"))
    try:
        chores.start()
        clock.advance(seconds=16)
        until(lambda: look_up(database, task.id).state is TaskState.QUEUED)
    finally:
        chores.thread.stop()
        chores.thread.join(30)
        with database.begin() as conn:
            conn.execute(text("alter table operations_away rename to operations"))
