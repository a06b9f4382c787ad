"""The claim: never more than was asked for, never twice, never early, never after expiry, on any plan."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from taskqueue.core.task import TaskId, TaskState
from taskqueue.store import dead_letters, leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter, Edits
from tests.store.limits import fill, ids
from tests.store.steps import drain
from tests.store.threads import at_once, results
from tests.support.builders import LEASE, claim_all, claim_one, kill_one, look_up, new_task, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")


def test_a_claimed_task_runs_under_a_lease_of_its_own(database: Database) -> None:
    submitted = submit_one(database, headers=(("X-Tenant", "7"),), labels=("a",), metadata=b"{}")
    task = claim_one(database, worker="worker-7")
    assert (task.id, task.spec, task.state) == (submitted.id, submitted.spec, TaskState.RUNNING)
    assert (task.progress.number, task.progress.seq) == (1, 2)
    assert task.lease is not None
    assert task.lease.attempt_id.version == 7
    assert (task.worker, task.expires_at) == ("worker-7", submitted.expires_at)
    found = look_up(database, task.id)
    assert found == task


def test_two_leases_never_look_alike(database: Database) -> None:
    fill(database, 50)
    claimed = claim_all(database)
    assert len({task.lease.token for task in claimed if task.lease}) == 50
    assert len({task.lease.attempt_id for task in claimed if task.lease}) == 50


def test_the_start_is_the_databases_time(database: Database, clock: Clock) -> None:
    submit_one(database)
    clock.advance(hours=5)
    with database.read() as conn:
        before = database.now(conn)
    started = claim_one(database).started_at
    assert started is not None
    assert timedelta(0) <= started - before < timedelta(seconds=5)


def test_nothing_starts_early(database: Database, clock: Clock) -> None:
    task = submit_one(database, delay=timedelta(minutes=10))
    clock.advance(minutes=9, seconds=50)
    assert claim_all(database) == []
    clock.advance(seconds=10)
    assert claim_one(database).id == task.id


def test_nothing_starts_at_its_expiry_or_later(database: Database, clock: Clock) -> None:
    submit_one(database, expires_in=timedelta(minutes=10))
    clock.advance(minutes=10)
    assert claim_all(database) == []


def test_a_task_may_start_until_its_expiry(database: Database, clock: Clock) -> None:
    submit_one(database, expires_in=timedelta(minutes=10))
    clock.advance(minutes=9, seconds=50)
    assert len(claim_all(database)) == 1


def test_what_runs_is_not_claimed_again(database: Database, clock: Clock) -> None:
    submit_one(database)
    claim_one(database)
    clock.advance(days=1)
    assert claim_all(database) == []


def test_the_longest_due_comes_first(database: Database, clock: Clock) -> None:
    order = []
    for _ in range(5):
        order.append(submit_one(database).id)
        clock.advance(seconds=1)
    assert [claim_one(database).id for _ in order] == order


@pytest.mark.parametrize("limit", [1, 7, 50, 60])
def test_a_claim_keeps_to_its_limit(database: Database, limit: int) -> None:
    fill(database, 50)
    assert len(claim_all(database, limit=limit)) == min(limit, 50)


def test_a_short_claim_tells_when_the_next_task_is_due(database: Database, clock: Clock) -> None:
    def next_due(limit: int = 10) -> timedelta | None:
        return leases.claim(database, worker="w", limit=limit, lease=LEASE).next_due

    assert next_due() is None
    submit_one(database, delay=timedelta(hours=1))
    submit_one(database, delay=timedelta(hours=2))
    due = next_due()
    assert due is not None
    assert timedelta(minutes=59) < due <= timedelta(hours=1)
    clock.advance(minutes=90)
    assert next_due(limit=1) is None  # it got all that it asked for, so it looks again at once
    assert next_due() is not None


def test_running_and_held_tasks_are_not_waited_for(database: Database) -> None:
    submit(database, *(new_task(ordering_key="a") for _ in range(3)))
    assert len(claim_all(database)) == 1
    assert leases.claim(database, worker="w", limit=10, lease=LEASE).next_due is None


def test_an_edited_redrive_is_claimed_as_edited(database: Database) -> None:
    dead = kill_one(database, body=b"old", headers=(("X-A", "1"),))
    with database.begin() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).items
        edits = Edits(body=b"new", content_type="text/plain", headers=(), timeout=timedelta(seconds=9), retries=0)
        dead_letters.redrive(conn, database, "default", letter.id, edits)
    plain = submit_one(database, body=b"plain")
    claimed = {task.id: task.spec for task in claim_all(database)}
    assert claimed[plain.id].body == b"plain"
    spec = claimed[dead.id]
    assert (spec.body, spec.content_type, spec.headers) == (b"new", "text/plain", ())
    assert (spec.timeout, spec.retries) == (timedelta(seconds=9), 0)
    assert spec.target_url == dead.spec.target_url


def test_eight_claimers_take_everything_once(database: Database, other: Database) -> None:
    everything = ids(fill(database, 600))
    stores = (database, other) * 4
    calls = [partial(drain, store, limit=13, worker=f"w{number}") for number, store in enumerate(stores)]
    taken = [task for each in results(at_once(calls)) for task in each]
    left = drain(database, limit=100, worker="last")  # what a claimer saw change under it, it leaves for the next round
    assert Counter(task.id for task in taken + left) == Counter(everything)


def test_claimers_among_submitters_and_cancellers_take_nothing_twice(database: Database, other: Database) -> None:
    known, stop = ids(fill(database, 200)), threading.Event()

    def submit_more() -> list[TaskId]:
        for _ in range(20):
            known.extend(ids(fill(database, 5)))
        return []

    def cancel_some() -> list[TaskId]:
        for task_id in known[::10]:
            with other.begin() as conn:
                tasks.cancel(conn, other, "default", task_id)
        return []

    def claim_until_told(store: Database) -> list[TaskId]:
        found: list[TaskId] = []
        while not stop.is_set():
            found += [task.id for task in claim_all(store, limit=3)]
        return found

    cancelled = set(known[::10])
    claimers = [partial(claim_until_told, store) for store in (database, other, database, other)]
    threading.Timer(0.8, stop.set).start()
    taken = Counter(task_id for each in results(at_once([submit_more, cancel_some, *claimers])) for task_id in each)
    taken.update(task.id for task in drain(database, limit=50, worker="last"))
    assert set(taken.values()) == {1}
    assert set(known) - set(taken) <= cancelled
