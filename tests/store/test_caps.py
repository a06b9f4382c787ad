"""Concurrency of queues and flow keys: never exceeded, not by one, and no slot is ever lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.store import flow_keys, queues
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from taskqueue.store.room import Share
from tests.store.limits import ORIGIN, cancel, claim, fill, ids, let_go, limit_flow, limit_queue, running, to_host
from tests.store.steps import reclaim, settle_all
from tests.support.builders import LEASE, answer, claim_one, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
SOON = timedelta(milliseconds=250)


@pytest.mark.parametrize("limit", [limit_queue, limit_flow])
def test_no_more_run_than_a_cap_allows(database: Database, limit: object) -> None:
    limit(database, concurrency=3)  # type: ignore[operator]
    fill(database, 10)
    assert len(claim(database, 2).tasks) == 2
    assert len(claim(database, 100).tasks) == 1
    assert claim(database, 100).tasks == []


@pytest.mark.parametrize("limit", [limit_queue, limit_flow])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_slot_that_comes_free_is_taken_at_once(database: Database, limit: object, status: int) -> None:
    limit(database, concurrency=3)  # type: ignore[operator]
    fill(database, 10)
    claimed = claim(database).tasks
    assert claim(database).tasks == []
    for task in claimed:
        settle_all(database, [task], status)
        assert len(claim(database).tasks) == 1
    assert running(database) == 3


def test_whoever_waits_for_something_to_claim_hears_of_a_free_slot(database: Database, other: Database) -> None:
    limit_flow(database, concurrency=1)
    fill(database, 2)
    task = claim_one(database)
    assert claim(database).tasks == []
    listener = other.listener(Hint.READY)
    try:
        while listener.wait(0.05):
            continue  # what the submit told
        settle_all(database, [task], 200)
        assert listener.wait(10)
    finally:
        listener.close()


def test_a_full_strand_tells_to_look_again_before_long(database: Database) -> None:
    limit_flow(database, concurrency=1)
    fill(database, 2)
    claim(database)
    due = claim(database).next_due
    assert due is not None
    assert timedelta(milliseconds=100) < due <= SOON


def test_the_call_of_a_cancelled_task_holds_its_slot_until_it_is_off_the_wire(database: Database) -> None:
    limit_queue(database, concurrency=1)
    first, second = fill(database, 2)
    (running_one,) = claim(database).tasks
    cancel(database, running_one)
    assert claim(database).tasks == []
    let_go(database, running_one)
    assert ids(claim(database).tasks) == [second.id]
    assert first.id == running_one.id


def test_the_slots_of_a_dead_worker_are_free_once_its_leases_were_taken_back(database: Database, clock: Clock) -> None:
    limit_flow(database, concurrency=2)
    fill(database, 4)
    first, second = claim(database).tasks
    cancel(database, second)
    clock.advance(seconds=LEASE.total_seconds() + 1)
    assert claim(database).tasks == []
    assert ids(reclaim(database)) == [first.id]
    assert running(database) == 0
    assert len(claim(database).tasks) == 2


def test_a_cap_that_is_lowered_lets_nothing_start_until_enough_have_ended(database: Database) -> None:
    fill(database, 10)
    claimed = claim(database, 4).tasks
    limit_queue(database, concurrency=2)
    for task in claimed[:2]:
        settle_all(database, [task], 200)
        assert claim(database).tasks == []
    settle_all(database, [claimed[2]], 200)
    assert len(claim(database).tasks) == 1


def test_a_cap_that_is_raised_or_forgotten_lets_more_start_at_once(database: Database) -> None:
    limit_flow(database, concurrency=1)
    limit_queue(database, concurrency=2)
    fill(database, 10)
    assert len(claim(database).tasks) == 1
    limit_flow(database, concurrency=3)
    assert len(claim(database).tasks) == 1
    with database.begin() as conn:
        queues.remove(conn, database, "default", "default")
    assert len(claim(database).tasks) == 1
    with database.begin() as conn:
        flow_keys.remove(conn, database, "default", ORIGIN)
    assert len(claim(database).tasks) == 7


def test_a_cap_holds_back_nobody_else(database: Database) -> None:
    limit_queue(database, "mail", concurrency=1)
    limit_flow(database, "smtp", concurrency=1)
    for over in ({"queue": "mail"}, {"flow_key": "smtp"}, {}, {"queue": "mail", "project": "other"}):
        fill(database, 3, **over)
    found = [(task.spec.project, task.spec.queue, task.spec.flow_key) for task in claim(database).tasks]
    assert found.count(("default", "mail", None)) == 1
    assert found.count(("default", "default", "smtp")) == 1
    assert len(found) == 8


def test_a_queue_is_full_whatever_hosts_its_tasks_call(database: Database) -> None:
    limit_queue(database, concurrency=5)
    for number in range(20):
        fill(database, 2, **to_host(f"h{number}.example"))
    assert len(claim(database).tasks) == 5
    assert claim(database).tasks == []


def test_a_flow_key_is_full_whatever_queue_its_tasks_wait_in(database: Database) -> None:
    limit_flow(database, "crm", concurrency=5)
    for number in range(20):
        fill(database, 2, queue=f"q{number}", flow_key="crm", priority=number % 10, **to_host(f"h{number}.example"))
    assert len(claim(database).tasks) == 5
    assert claim(database).tasks == []


def test_as_many_slots_are_taken_as_came_free_though_each_strand_holds_one_task(database: Database) -> None:
    limit_queue(database, concurrency=10)
    for number in range(30):
        fill(database, 1, **to_host(f"h{number}.example"))
    claimed = claim(database).tasks
    assert len(claimed) == 10
    assert claim(database).tasks == []
    for task in claimed:  # each in a transaction of its own
        settle_one(database, task, answer(200))
    assert len(claim(database).tasks) == 10


def test_a_slot_that_came_free_is_not_lost_on_a_strand_that_holds_nothing_any_more(database: Database) -> None:
    limit_queue(database, concurrency=1)
    fill(database, 1, priority=6)
    (task,) = claim(database).tasks
    doomed = [fill(database, 1, **to_host(f"h{number}.example"))[0] for number in range(4)]
    fill(database, 1, priority=1)
    assert claim(database).tasks == []
    cancel(database, *doomed)
    settle_one(database, task, answer(200))
    assert [each.spec.priority for each in claim(database).tasks] == [1]


def test_in_a_full_queue_the_higher_priority_comes_first(database: Database) -> None:
    limit_queue(database, concurrency=1)
    fill(database, 3, priority=1)
    (first,) = claim(database).tasks
    fill(database, 4, priority=5)
    fill(database, 4, priority=9)
    order = []
    task = first
    for _ in range(10):
        assert claim(database).tasks == []
        settle_one(database, task, answer(200))
        (task,) = claim(database).tasks
        order.append(task.spec.priority)
    assert order == [9, 9, 9, 9, 5, 5, 5, 5, 1, 1]


def test_in_a_full_queue_a_low_priority_has_its_turn_once_it_waited_for_long(database: Database, clock: Clock) -> None:
    limit_queue(database, concurrency=1)
    fill(database, 40, priority=9)
    fill(database, 5, priority=0)
    order = []
    for _ in range(20):
        (task,) = claim(database).tasks
        assert claim(database).tasks == []
        settle_one(database, task, answer(200))
        order.append(task.spec.priority)
        clock.advance(seconds=5)
    assert order.count(0) in (1, 2)
    assert 0 in order[9:12]


def test_keys_without_a_cap_of_their_own_have_that_of_the_service(database: Database) -> None:
    limit_flow(database, "wide", concurrency=6)
    limit_flow(database, "rated")
    fill(database, 10)
    fill(database, 10, flow_key="wide")
    fill(database, 10, flow_key="rated")
    found = [task.spec.flow_key for task in claim(database, flow_cap=3).tasks]
    assert {key: found.count(key) for key in set(found)} == {None: 3, "wide": 6, "rated": 3}
    assert claim(database, flow_cap=3).tasks == []


def test_a_worker_takes_no_more_of_one_key_than_its_share_and_leaves_the_rest_to_others(database: Database) -> None:
    fill(database, 10)
    first = claim(database, share=Share(4, {}))
    assert (len(first.tasks), first.at_share) == (4, True)
    held = {("default", ORIGIN): 4}
    submit_one(database, **to_host("another.example"))
    second = claim(database, share=Share(4, held))
    assert [task.spec.target_host for task in second.tasks] == ["another.example"]
    assert second.at_share
    third = claim(database, share=Share(4, {("default", ORIGIN): 3}))
    assert (len(third.tasks), third.at_share) == (1, True)
    assert len(claim(database, worker="worker-2", share=Share(100, {})).tasks) == 5


def test_the_share_of_a_worker_does_not_count_where_there_is_a_cap(database: Database) -> None:
    limit_flow(database, concurrency=6)
    fill(database, 10)
    claimed = claim(database, share=Share(4, {}))
    assert (len(claimed.tasks), claimed.at_share) == (6, False)
    assert claim(database, flow_cap=3, share=Share(4, {})).tasks == []


def test_a_worker_at_its_share_does_not_spin(database: Database) -> None:
    fill(database, 10)
    claim(database, share=Share(4, {}))
    again = claim(database, share=Share(4, {("default", ORIGIN): 4}))
    assert again.tasks == []
    assert again.next_due is None or again.next_due > timedelta(milliseconds=10)
