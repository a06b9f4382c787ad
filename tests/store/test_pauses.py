"""Pauses of queues and flow keys: nothing starts, nothing spins, and a resume wakes what waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from taskqueue.core.queue import FlowKey, Queue, Rate
from taskqueue.core.task import WEBHOOK_QUEUE, Task, TaskState
from taskqueue.store import flow_keys, leases, queues, strands
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from tests.store.limits import ORIGIN, cancel, claim, fill, ids, limit_flow, limit_queue, strand_of_one, to_host
from tests.store.steps import settle_all
from tests.support.builders import answer, claim_one, look_up, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
Pause = Callable[[Database, bool], None]


def pause_queue(database: Database, paused: bool, name: str = "default") -> None:
    with database.begin() as conn:
        queue = queues.find(conn, "default", name) or Queue(project="default", name=name)
        queues.set_paused(conn, database, queue, paused=paused)


def pause_flow(database: Database, paused: bool) -> None:
    with database.begin() as conn:
        flow_key = flow_keys.find(conn, "default", ORIGIN) or FlowKey(project="default", key=ORIGIN)
        flow_keys.set_paused(conn, database, flow_key, paused=paused)


EITHER = pytest.mark.parametrize("pause", [pause_queue, pause_flow])


@EITHER
def test_nothing_of_what_is_paused_starts_and_nobody_looks_again_and_again(database: Database, pause: Pause) -> None:
    fill(database, 3)
    pause(database, True)
    for _ in range(3):
        claimed = claim(database)
        assert (claimed.tasks, claimed.next_due) == ([], None)
    assert strand_of_one(database).look_at is None
    with database.begin() as conn:
        assert strands.wake_overlooked(conn, database, limit=10) == 0
        assert strands.forget_empty(conn, limit=10) == 0


@EITHER
def test_a_resume_wakes_all_that_waits_and_all_that_came_meanwhile(
    database: Database, other: Database, pause: Pause
) -> None:
    pause(database, True)
    before = fill(database, 2)
    assert claim(database).tasks == []
    after = fill(database, 2)
    assert claim(database).tasks == []
    listener = other.listener(Hint.READY)
    try:
        while listener.wait(0.05):
            continue
        pause(database, False)
        assert listener.wait(10)
    finally:
        listener.close()
    assert sorted(ids(claim(database).tasks)) == sorted(ids([*before, *after]))


@EITHER
def test_what_runs_when_the_pause_begins_runs_on_and_waits_only_for_its_retry(
    database: Database, clock: Clock, pause: Pause
) -> None:
    fill(database, 2)
    first, second = claim(database).tasks
    pause(database, True)
    settle_all(database, [first], 200)
    settle_all(database, [second], 500)
    clock.advance(hours=1)
    assert claim(database).tasks == []
    pause(database, False)
    assert ids(claim(database).tasks) == [second.id]


@EITHER
def test_what_is_paused_can_be_cancelled_and_expires(database: Database, clock: Clock, pause: Pause) -> None:
    pause(database, True)
    (doomed,) = fill(database, 1)
    (late,) = fill(database, 1, expires_in=timedelta(hours=1))
    assert claim(database).tasks == []
    cancel(database, doomed)
    clock.advance(hours=2)
    with database.begin() as conn:
        assert ids(leases.expired(conn, database, limit=10)) == [late.id]
    pause(database, False)
    assert claim(database).tasks == []


def test_a_pause_holds_back_nobody_else(database: Database) -> None:
    pause_queue(database, True, "mail")
    limit_flow(database, "smtp", paused=True)
    fill(database, 1, queue="mail")
    fill(database, 1, flow_key="smtp")
    wanted = [
        *fill(database, 1),
        *fill(database, 1, queue="mail", project="other"),
        *fill(database, 1, flow_key="smtp", project="other"),
    ]
    assert sorted(ids(claim(database).tasks)) == sorted(ids(wanted))


def test_both_must_be_resumed_where_both_are_paused(database: Database) -> None:
    for pause in (pause_queue, pause_flow):
        pause(database, True)
    (task,) = fill(database, 1)
    for pause in (pause_queue, pause_flow):
        assert claim(database).tasks == []
        pause(database, False)
    assert ids(claim(database).tasks) == [task.id]


def test_a_resume_lifts_no_other_limit(database: Database) -> None:
    limit_queue(database, concurrency=2, paused=True)
    limit_flow(database, rate=Rate(3, timedelta(hours=3)))
    fill(database, 9)
    pause_queue(database, False)
    assert len(claim(database).tasks) == 2
    limit_queue(database)
    assert len(claim(database).tasks) == 1
    assert claim(database).tasks == []


def test_webhooks_are_told_whatever_user_queues_are_paused(database: Database) -> None:
    submit_one(database, webhook_url="https://caller.example/hook")
    settle_one(database, claim_one(database), answer(200))
    pause_queue(database, True)
    pause_flow(database, True)
    (webhook,) = claim(database).tasks
    assert (webhook.spec.queue, webhook.spec.target_host) == (WEBHOOK_QUEUE, "caller.example")


def test_a_queue_that_is_forgotten_while_it_is_paused_goes_on(database: Database) -> None:
    limit_queue(database, paused=True)
    (task,) = fill(database, 1)
    assert claim(database).tasks == []
    with database.begin() as conn:
        queues.remove(conn, database, "default", "default")
    assert ids(claim(database).tasks) == [task.id]


def test_an_ordering_key_goes_on_in_order_after_a_pause(database: Database) -> None:
    submitted = fill(database, 3, ordering_key="a")
    head: Task = claim_one(database)
    pause_queue(database, True)
    settle_all(database, [head], 200)
    assert claim(database).tasks == []
    pause_queue(database, False)
    for task in submitted[1:]:
        (next_one,) = claim(database).tasks
        assert next_one.id == task.id
        settle_all(database, [next_one], 200)
    assert look_up(database, submitted[2].id).state is TaskState.SUCCEEDED


def test_other_hosts_of_a_paused_queue_do_not_keep_a_worker_busy(database: Database) -> None:
    pause_queue(database, True)
    for number in range(80):
        fill(database, 1, **to_host(f"h{number}.example"))
    looks = 0
    while claim(database).next_due is not None:
        looks += 1
        assert looks < 5
