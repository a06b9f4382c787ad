"""Leases: kept by extending; void once reclaimed or cancelled, and then good for nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select

from taskqueue.core.lifecycle import decide, expire
from taskqueue.core.outcome import lapsed as lapsed_outcome
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import Lease, LeaseToken, Task, TaskId, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.schema import ready
from tests.store.invariants import faults
from tests.store.threads import at_once, results
from tests.support.builders import (
    LEASE,
    answer,
    claim_all,
    claim_one,
    look_up,
    new_task,
    settle_one,
    submit,
    submit_one,
)
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
DAY = timedelta(days=1)


def lease_of(task: Task) -> Lease:
    assert task.lease is not None
    return task.lease


def extend(database: Database, *held: Lease, lease: timedelta = LEASE) -> set[Lease]:
    with database.begin() as conn:
        return leases.extend(conn, database, held, lease=lease)


def lapsed(database: Database, limit: int = 100) -> list[Task]:
    with database.read() as conn:
        return leases.lapsed(conn, database, limit=limit)


def reclaim(database: Database, *lost: Task) -> set[Task]:
    """Settle each as lost; return those whose lease was not void after all."""
    with database.begin() as conn:
        now = database.now(conn)
        settlements = [decide(task, lapsed_outcome(), now=now, jitter=0.5, limits=Limits()) for task in lost]
        return leases.settle(conn, database, settlements)


def cancel(database: Database, task: Task) -> None:
    with database.begin() as conn:
        assert tasks.cancel(conn, database, task.spec.project, task.id) is not None


def let_go(database: Database, *held: Lease) -> None:
    with database.begin() as conn:
        leases.let_go(conn, database, held)


def alive(database: Database) -> list[object]:
    with database.read() as conn:
        return list(conn.execute(select(ready.c.task_id)).scalars())


def test_an_extended_lease_does_not_lapse(database: Database, clock: Clock) -> None:
    submit_one(database)
    task = claim_one(database)
    for _ in range(5):
        clock.advance(seconds=10)
        assert extend(database, lease_of(task)) == set()
        assert lapsed(database) == []
    clock.advance(seconds=16)
    assert [each.id for each in lapsed(database)] == [task.id]


def test_a_lapsed_lease_that_nobody_reclaimed_still_extends_and_settles(database: Database, clock: Clock) -> None:
    submit_one(database)
    task = claim_one(database)
    clock.advance(minutes=5)
    assert extend(database, lease_of(task)) == set()
    clock.advance(minutes=5)
    assert settle_one(database, task, answer(200))


def test_a_reclaimed_lease_can_neither_extend_nor_settle(database: Database, clock: Clock) -> None:
    submit_one(database)
    old = claim_one(database)
    clock.advance(seconds=16)
    assert reclaim(database, *lapsed(database)) == set()
    again = claim_one(database)
    assert (again.id, again.progress.number, again.progress.lost) == (old.id, 2, 1)
    assert extend(database, lease_of(old)) == {lease_of(old)}
    assert not settle_one(database, old, answer(200))
    assert look_up(database, old.id).state is TaskState.RUNNING
    assert settle_one(database, again, answer(200))


def test_a_reclaimed_task_is_due_at_once_and_its_attempt_on_record(database: Database, clock: Clock) -> None:
    submit_one(database)
    old = claim_one(database, worker="worker-that-died")
    clock.advance(seconds=16)
    reclaim(database, *lapsed(database))
    with database.read() as conn:
        ((generation, attempt),) = tasks.attempts(conn, "default", old.id)
    assert (generation, attempt.id, attempt.number) == (1, lease_of(old).attempt_id, 1)
    assert (attempt.outcome.cls.name, attempt.worker, attempt.charged) == ("worker_lost", "worker-that-died", False)
    assert claim_one(database).id == old.id


def test_a_task_that_loses_worker_after_worker_dies(database: Database, clock: Clock) -> None:
    task = submit_one(database)
    for _ in range(4):
        claim_one(database)
        clock.advance(seconds=16)
        reclaim(database, *lapsed(database))
    ended = look_up(database, task.id)
    assert ended.ending is not None
    assert (ended.state, ended.ending.reason) == (TaskState.DEAD, DeadReason.LOST)


def test_a_foreign_or_invented_lease_moves_nothing(database: Database, clock: Clock) -> None:
    submit_one(database)
    held = lease_of(claim_one(database))
    wrong = [
        replace(held, project="other"),
        replace(held, token=LeaseToken(uuid4())),
        replace(held, task_id=TaskId(uuid4())),
    ]
    clock.advance(seconds=10)
    assert extend(database, *wrong) == set(wrong)
    clock.advance(seconds=6)
    assert len(lapsed(database)) == 1


def test_the_stale_lease_of_a_task_is_told_from_its_new_one(database: Database, clock: Clock) -> None:
    submit_one(database)
    old = claim_one(database)
    clock.advance(seconds=16)
    reclaim(database, *lapsed(database))
    new = claim_one(database)
    # One worker may hold both: it stalled, took its own task back, and the old attempt is still on the wire.
    assert extend(database, lease_of(old), lease_of(new)) == {lease_of(old)}
    assert extend(database, lease_of(new), lease_of(old)) == {lease_of(old)}


def test_many_leases_are_extended_at_once(database: Database, clock: Clock) -> None:
    submit(database, *(new_task() for _ in range(30)))
    claimed = claim_all(database)
    gone = claimed[:10]
    for task in gone:
        settle_one(database, task, answer(200))
    clock.advance(seconds=10)
    stale = extend(database, *(lease_of(task) for task in claimed))
    assert stale == {lease_of(task) for task in gone}
    clock.advance(seconds=10)
    assert lapsed(database) == []
    assert extend(database) == set()


def test_two_that_extend_the_same_leases_at_once_both_keep_them(database: Database, other: Database) -> None:
    submit(database, *(new_task() for _ in range(50)))
    held = [lease_of(task) for task in claim_all(database)]
    for _ in range(10):
        calls = [partial(extend, store, *order) for store, order in ((database, held), (other, held[::-1]))]
        assert results(at_once(calls)) == [set(), set()]


def test_a_late_extension_saves_a_lease_from_its_reclaim(database: Database, clock: Clock) -> None:
    submit_one(database)
    task = claim_one(database)
    clock.advance(seconds=16)
    lost = lapsed(database)
    # Found lapsed, and extended before the reclaim is written: the owner lives.
    assert extend(database, lease_of(task)) == set()
    assert reclaim(database, *lost) == {task.id}
    assert look_up(database, task.id).lease == task.lease
    assert settle_one(database, task, answer(200))


@pytest.mark.parametrize("first", ["extend", "reclaim"])
def test_of_an_extension_and_a_reclaim_in_flight_only_one_holds(
    database: Database, other: Database, clock: Clock, first: str
) -> None:
    submit_one(database)
    task = claim_one(database)
    clock.advance(seconds=16)
    lost = lapsed(database)
    begun, outcome = threading.Event(), {}

    def hold_open(verb: str) -> None:
        with database.begin() as conn:
            outcome[verb] = apply(conn, database, verb)
            begun.set()
            threading.Event().wait(0.15)

    def follow(verb: str) -> None:
        begun.wait(30)
        with other.begin() as conn:
            outcome[verb] = apply(conn, other, verb)

    def apply(conn: object, store: Database, verb: str) -> bool:
        if verb == "extend":
            return leases.extend(conn, store, [lease_of(task)], lease=LEASE) == set()  # type: ignore[arg-type]
        settlement = decide(lost[0], lapsed_outcome(), now=store.now(conn), jitter=0.5, limits=Limits())  # type: ignore[arg-type]
        return leases.settle(conn, store, [settlement]) == set()  # type: ignore[arg-type]

    second = {"extend": "reclaim", "reclaim": "extend"}[first]
    results(at_once([partial(hold_open, first), partial(follow, second)]))
    assert outcome == {first: True, second: False}


def test_reclaimers_at_once_record_one_loss(database: Database, other: Database, clock: Clock) -> None:
    submit(database, *(new_task() for _ in range(20)))
    claim_all(database)
    clock.advance(seconds=16)
    lost = lapsed(database)
    stale = results(at_once([partial(reclaim, store, *lost) for store in (database, other, database, other)]))
    assert sum(20 - len(each) for each in stale) == 20
    assert {task.progress.lost for task in claim_all(database)} == {1}


def test_the_longest_lapsed_are_found_first(database: Database, clock: Clock) -> None:
    order = []
    for _ in range(4):
        submit_one(database)
        order.append(claim_one(database).id)
        clock.advance(seconds=1)
    clock.advance(seconds=30)
    assert [task.id for task in lapsed(database)] == order
    assert [task.id for task in lapsed(database, limit=2)] == order[:2]


def test_a_reclaimed_task_carries_what_its_edited_redrive_changed(database: Database, clock: Clock) -> None:
    task = submit_one(database, webhook_url="https://caller.example/hook", retries=0)
    claim_one(database)
    clock.advance(seconds=16)
    (lost,) = lapsed(database)
    assert (lost.id, lost.spec, lost.progress.seq) == (task.id, task.spec, 2)


def test_a_waiting_task_past_its_expiry_is_found_and_dies(database: Database, clock: Clock) -> None:
    short = submit_one(database, expires_in=timedelta(minutes=1), webhook_url="https://caller.example/hook")
    submit_one(database, expires_in=timedelta(minutes=10))
    clock.advance(minutes=2)
    assert expire_all(database) == [short.id]
    ended = look_up(database, short.id)
    assert ended.ending is not None
    assert (ended.state, ended.ending.reason) == (TaskState.DEAD, DeadReason.EXPIRED)
    with database.read() as conn:
        assert len(tasks.webhooks(conn, "default", short.id)) == 1
    assert expire_all(database) == []


def test_a_running_task_is_left_to_its_attempt(database: Database, clock: Clock) -> None:
    submit_one(database, expires_in=timedelta(minutes=1))
    task = claim_one(database)
    clock.advance(minutes=2)
    assert expire_all(database) == []
    assert settle_one(database, task, answer(200))


def test_a_held_task_expires_too(database: Database, clock: Clock) -> None:
    submit(database, *(new_task(ordering_key="a", expires_in=timedelta(minutes=n)) for n in (9, 1, 9)))
    clock.advance(minutes=2)
    assert len(expire_all(database)) == 1
    head, last = claim_one(database), claim_all(database)
    assert last == []
    assert settle_one(database, head, answer(200))
    assert len(claim_all(database)) == 1


def test_an_expiry_that_comes_too_late_finds_nothing_to_end(database: Database, clock: Clock) -> None:
    submit_one(database, expires_in=timedelta(minutes=1))
    clock.advance(seconds=61)
    with database.read() as conn:
        (found,) = leases.expired(conn, database, limit=10)
        now = database.now(conn)
    cancel(database, found)
    with database.begin() as conn:
        assert leases.settle(conn, database, [expire(found, now=now)]) == {found.id}
    assert look_up(database, found.id).state is TaskState.CANCELLED


def expire_all(database: Database) -> list[object]:
    with database.begin() as conn:
        now = database.now(conn)
        found = leases.expired(conn, database, limit=100)
        assert leases.settle(conn, database, [expire(task, now=now) for task in found]) == set()
    return [task.id for task in found]


def test_a_cancelled_running_task_reads_cancelled_at_once_and_its_lease_is_void(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    cancel(database, task)
    assert look_up(database, task.id).state is TaskState.CANCELLED
    assert extend(database, lease_of(task)) == {lease_of(task)}
    assert not settle_one(database, task, answer(200))
    assert look_up(database, task.id).state is TaskState.CANCELLED
    assert alive(database) == [task.id]


def test_a_tombstone_goes_when_the_worker_lets_go(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    cancel(database, task)
    let_go(database, lease_of(task))
    assert alive(database) == []
    let_go(database, lease_of(task))


def test_a_tombstone_lapses_like_any_lease(database: Database, clock: Clock) -> None:
    submit_one(database)
    task = claim_one(database)
    cancel(database, task)
    clock.advance(seconds=14)
    assert lapsed(database) == []
    clock.advance(seconds=2)
    (stone,) = lapsed(database)
    assert (stone.id, stone.state) == (task.id, TaskState.CANCELLED)
    assert reclaim(database, replace(stone, state=TaskState.RUNNING)) == {task.id}
    let_go(database, lease_of(stone))
    assert alive(database) == []


def test_letting_go_touches_nothing_else(database: Database, clock: Clock) -> None:
    submit_one(database)
    task = claim_one(database)
    let_go(database, lease_of(task), replace(lease_of(task), project="other"))
    assert look_up(database, task.id).lease == task.lease
    clock.advance(seconds=16)
    reclaim(database, task)
    let_go(database, lease_of(task))
    again = claim_one(database)
    let_go(database, lease_of(task))
    assert look_up(database, task.id).lease == again.lease


def test_those_who_let_go_of_lanes_and_those_who_enter_them_do_not_block_each_other(
    database: Database, other: Database
) -> None:
    names = [f"lane-{number}" for number in range(12)]
    for _ in range(2):
        submit(database, *(new_task(ordering_key=name) for name in names for _ in range(2)))
        heads = claim_all(database)
        for task in heads:
            cancel(database, task)
        held = [lease_of(task) for task in heads]
        results(
            at_once(
                [
                    partial(let_go, database, *held),
                    partial(let_go, other, *held[::-1]),
                    partial(submit, database, *(new_task(ordering_key=name) for name in names)),
                    partial(submit, other, *(new_task(ordering_key=name) for name in names[::-1])),
                ]
            )
        )
        assert faults(database) == []
        while claimed := claim_all(database):
            for task in claimed:
                assert settle_one(database, task, answer(200))
