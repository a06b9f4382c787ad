"""Purge: what waits is cancelled, told of and counted; what runs is not touched."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import update

from taskqueue.core.task import Task, TaskState
from taskqueue.store import operations, tasks
from taskqueue.store.database import Database
from taskqueue.store.operations import BATCH, Operation
from taskqueue.store.purges import Waiting
from taskqueue.store.schema import tasks as tasks_table
from tests.store.steps import settle_all
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one, submit, submit_one

pytestmark = pytest.mark.usefixtures("sound")
MAIL = Waiting(queue="mail")
FOREVER = timedelta(hours=1)  # a busy machine must not cut a step short


def start(database: Database, wanted: Waiting = MAIL, *, project: str = "default") -> Operation:
    with database.begin() as conn:
        return operations.start_purge(conn, database, project, wanted)


def advance(database: Database) -> int:
    with database.begin() as conn:
        return operations.advance(conn, database, step=FOREVER)


def finished(database: Database, operation: Operation) -> Operation:
    """The operation once it is done."""
    for _ in range(100):
        with database.read() as conn:
            found = operations.get(conn, operation.project, operation.id)
        assert found is not None
        if found.finished_at is not None:
            return found
        advance(database)
    raise AssertionError("not done after 100 turns")


def states(database: Database, given: list[Task]) -> list[TaskState]:
    return [look_up(database, task.id, project=task.spec.project).state for task in given]


def test_every_waiting_task_is_cancelled_and_nothing_else(database: Database) -> None:
    running, failed = submit(database, new_task(queue="mail"), new_task(queue="mail")).tasks
    claimed = {task.id: task for task in claim_all(database)}
    settle_one(database, claimed[failed.id], answer(503))  # waits to be tried again
    due, later, head, held = submit(
        database,
        new_task(queue="mail", flow_key="smtp", priority=9),
        new_task(queue="mail", delay=timedelta(days=1)),
        *(new_task(queue="mail", ordering_key="a") for _ in range(2)),
    ).tasks
    others = [submit_one(database), submit_one(database, queue="mail", project="other")]
    operation = start(database)
    assert (operation.verb, operation.matched) == ("cancel", 5)
    done = finished(database, operation)
    assert (done.matched, done.done, done.failed, done.skipped) == (5, 5, 0, 0)
    assert set(states(database, [due, later, failed, head, held])) == {TaskState.CANCELLED}
    assert states(database, [running, *others]) == [TaskState.RUNNING, TaskState.QUEUED, TaskState.QUEUED]


def test_a_flow_key_is_purged_in_every_queue(database: Database) -> None:
    its = [
        submit_one(database, queue="mail", flow_key="smtp"),
        submit_one(database, queue="bills", flow_key="smtp"),
        *(submit_one(database, flow_key="smtp", ordering_key="a") for _ in range(2)),
    ]
    other = submit_one(database, queue="mail")
    operation = start(database, Waiting(flow_key="smtp"))
    assert operation.matched == 4
    assert finished(database, operation).done == 4
    assert set(states(database, its)) == {TaskState.CANCELLED}
    assert states(database, [other]) == [TaskState.QUEUED]


def test_whoever_waits_for_a_purged_task_is_told(database: Database) -> None:
    task = submit_one(database, queue="mail", webhook_url="https://caller.example/hook")
    finished(database, start(database))
    with database.read() as conn:
        assert len(tasks.webhooks(conn, "default", task.id)) == 1


def test_a_webhook_that_was_promised_is_not_purged_with_its_host(database: Database) -> None:
    task = submit_one(database, webhook_url="https://caller.example/hook")
    settle_one(database, claim_one(database), answer())
    done = finished(database, start(database, Waiting(flow_key="https://caller.example:443")))
    assert (done.matched, done.done) == (0, 0)
    with database.read() as conn:
        (webhook,) = tasks.webhooks(conn, "default", task.id)
    assert webhook.state is TaskState.QUEUED


def test_what_comes_after_the_purge_began_stays(database: Database) -> None:
    before = submit_one(database, queue="mail")
    operation = start(database)
    after = submit_one(database, queue="mail")
    assert finished(database, operation).done == 1
    assert states(database, [before, after]) == [TaskState.CANCELLED, TaskState.QUEUED]


def test_a_purge_goes_batch_by_batch(database: Database) -> None:
    submit(database, *(new_task(queue=name) for _ in range(BATCH + 5) for name in ("mail", "other")))
    start(database)
    assert [advance(database) for _ in range(3)] == [BATCH, 5, 0]


def test_what_somebody_else_was_faster_with_is_skipped(database: Database) -> None:
    first, second, third = submit(database, *(new_task(queue="mail") for _ in range(3))).tasks
    operation = start(database)
    claim_one(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", second.id)
    done = finished(database, operation)
    assert (done.done, done.skipped) == (1, 2)
    assert states(database, [first, third]) == [TaskState.RUNNING, TaskState.CANCELLED]


def test_a_purge_of_nothing_ends(database: Database) -> None:
    done = finished(database, start(database))
    assert (done.matched, done.done) == (0, 0)


def test_what_cannot_be_cancelled_stops_no_other(database: Database) -> None:
    first, bad, last = submit(
        database, *(new_task(queue="mail", ordering_key=name, webhook_url="https://caller.example/") for name in "aba")
    ).tasks
    odd = update(tasks_table).where(tasks_table.c.id == bad.id)
    with database.begin() as conn:  # as a newer version may write it, one whose waits this version cannot read
        conn.execute(odd.values(backoff=b'{"type": "fibonacci"}'))
    done = finished(database, start(database))
    assert (done.matched, done.done, done.failed) == (3, 2, 1)
    with database.begin() as conn:
        conn.execute(odd.values(backoff=None))
    assert states(database, [first, bad, last]) == [TaskState.CANCELLED, TaskState.QUEUED, TaskState.CANCELLED]


def test_two_workers_at_once_cancel_each_task_once(database: Database, other: Database) -> None:
    given = list(submit(database, *(new_task(queue="mail") for _ in range(50))).tasks)
    operation = start(database)
    results(at_once([partial(advance, database), partial(advance, other)]))
    assert finished(database, operation).done == 50
    assert set(states(database, given)) == {TaskState.CANCELLED}


def test_a_purge_and_workers_that_claim_leave_every_task_in_one_state(database: Database, other: Database) -> None:
    given = list(submit(database, *(new_task(queue="mail") for _ in range(60))).tasks)
    operation = start(database)

    def work() -> int:
        claimed = claim_all(other, limit=20)
        settle_all(other, claimed, 200)
        return len(claimed)

    ran = sum(results(at_once([work, partial(advance, database)])))
    done = finished(database, operation)
    ended = states(database, given)
    assert done.done == ended.count(TaskState.CANCELLED)
    assert done.skipped == ended.count(TaskState.SUCCEEDED) <= ran
