"""One task: looked at as it stands in each state, called off, pulled forward."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from taskqueue.core.errors import Conflict
from taskqueue.core.lifecycle import expire
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import Progress, Task, TaskId, TaskState
from taskqueue.store import dead_letters, leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter, Edits
from tests.store import plans
from tests.store.steps import decided, settle
from tests.store.threads import at_once
from tests.support.builders import answer, claim_all, claim_one, kill_one, look_up, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
HOUR = timedelta(hours=1)


def cancel(database: Database, task_id: TaskId, *, project: str = "default") -> Task | None:
    with database.begin() as conn:
        return tasks.cancel(conn, database, project, task_id)


def run_now(database: Database, task_id: TaskId, *, project: str = "default") -> Task | None:
    with database.begin() as conn:
        return tasks.run_now(conn, database, project, task_id)


def ended(database: Database, *waited_for: tuple[str, TaskId]) -> set[TaskId]:
    with database.read() as conn:
        return tasks.ended(conn, waited_for)


def redrive(database: Database, edits: Edits | None = None) -> Task | None:
    with database.begin() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=2).items
        return dead_letters.redrive(conn, database, "default", letter.id, edits)


def test_an_unknown_task_is_none(database: Database) -> None:
    nobody = TaskId(uuid4())
    with database.read() as conn:
        assert tasks.get(conn, "default", nobody) is None
        assert tasks.attempts(conn, "default", nobody) == []
        assert tasks.webhooks(conn, "default", nobody) == []
    assert cancel(database, nobody) is None
    assert run_now(database, nobody) is None


def test_a_task_shows_the_attempt_of_its_generation_and_no_older_one(database: Database, clock: Clock) -> None:
    task = submit_one(database)
    assert look_up(database, task.id).last_attempt is None
    for status in (500, 503):
        settle_one(database, claim_one(database), answer(status))
        clock.advance(minutes=1)
    last = look_up(database, task.id).last_attempt
    assert last is not None
    assert (last.number, last.outcome.cls.name) == (2, "unavailable")
    running = claim_one(database)
    assert look_up(database, task.id).last_attempt == last
    settle_one(database, running, answer(400))
    redrive(database)
    again = look_up(database, task.id)
    assert (again.state, again.last_attempt, again.progress) == (
        TaskState.QUEUED,
        None,
        Progress(generation=2, seq=8),
    )
    with database.read() as conn:
        found = [(generation, attempt.number) for generation, attempt in tasks.attempts(conn, "default", task.id)]
    assert found == [(1, 1), (1, 2), (1, 3)]


def test_every_attempt_of_every_generation_stays_on_record(database: Database) -> None:
    task = submit_one(database)
    for _ in range(3):
        settle_one(database, claim_one(database), answer(400))
        redrive(database)
    settle_one(database, claim_one(database), answer(200))
    with database.read() as conn:
        found = tasks.attempts(conn, "default", task.id)
    assert [(generation, attempt.number) for generation, attempt in found] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert len({attempt.id for _, attempt in found}) == 4
    assert look_up(database, task.id).state is TaskState.SUCCEEDED


def test_an_edited_task_shows_what_is_sent_and_keeps_showing_it_once_ended(database: Database) -> None:
    dead = kill_one(database, body=b"old")
    redrive(database, Edits(body=b"new", content_type="text/plain"))
    waiting = look_up(database, dead.id)
    assert (waiting.spec, waiting.revision) == (replace(dead.spec, body=b"new", content_type="text/plain"), 2)
    settle_one(database, claim_one(database), answer(400))
    assert look_up(database, dead.id).spec.body == b"new"
    redrive(database)
    assert look_up(database, dead.id).revision == 2
    assert claim_one(database).spec.body == b"new"


def test_a_waiting_task_is_cancelled_for_good(database: Database) -> None:
    task = submit_one(database, delay=HOUR)
    cancelled = cancel(database, task.id)
    assert cancelled is not None
    assert (cancelled.state, cancelled.progress.seq) == (TaskState.CANCELLED, 2)
    assert cancelled == look_up(database, task.id)
    assert claim_all(database) == []


@pytest.mark.parametrize("status", [200, 400])
def test_what_has_ended_is_neither_cancelled_nor_run_again(database: Database, status: int) -> None:
    task = submit_one(database)
    settle_one(database, claim_one(database), answer(status))
    for verb in (cancel, run_now):
        with pytest.raises(Conflict):
            verb(database, task.id)


def test_a_second_cancel_is_a_conflict(database: Database) -> None:
    waiting, running = submit_one(database, delay=HOUR), submit_one(database)
    claim_one(database)
    for task in (waiting, running):
        cancel(database, task.id)
        with pytest.raises(Conflict, match="the task was cancelled before; only a waiting or running"):
            cancel(database, task.id)


def test_a_retrying_task_is_cancelled_with_its_past(database: Database) -> None:
    task = submit_one(database)
    settle_one(database, claim_one(database), answer(500))
    cancelled = cancel(database, task.id)
    assert cancelled is not None
    assert cancelled.ending is not None
    assert (cancelled.ending.cls, cancelled.progress.number) == ("server_error", 1)
    assert cancelled.last_attempt is not None


def test_of_a_cancel_and_a_settle_at_once_one_wins(database: Database, other: Database) -> None:
    for _ in range(12):
        task = submit_one(database, webhook_url="https://caller.example/hook")
        running = next(each for each in claim_all(database) if each.id == task.id)
        end = decided(database, running, answer(200))
        stale, cancelled = at_once([partial(settle, database, end), partial(cancel, other, task.id)])
        state = look_up(database, task.id).state
        if state is TaskState.SUCCEEDED:
            assert stale == set()
            assert isinstance(cancelled, Conflict)
        else:
            assert (state, stale) == (TaskState.CANCELLED, {task.id})
            assert isinstance(cancelled, Task)


def test_of_a_cancel_and_a_claim_at_once_both_are_told_the_truth(database: Database, other: Database) -> None:
    for _ in range(12):
        task = submit_one(database)
        claimed, cancelled = at_once([partial(claim_all, database), partial(cancel, other, task.id)])
        assert isinstance(cancelled, Task)
        assert isinstance(claimed, list)
        assert look_up(database, task.id).state is TaskState.CANCELLED
        for each in claimed:
            assert not settle_one(database, each, answer(200))


def test_cancels_at_once_end_the_task_once(database: Database, other: Database) -> None:
    task = submit_one(database, webhook_url="https://caller.example/hook")
    answered = at_once([partial(cancel, store, task.id) for store in (database, other, database, other)])
    assert sum(isinstance(each, Task) for each in answered) == 1, answered
    assert sum(isinstance(each, Conflict) for each in answered) == 3, answered


def test_a_waiting_task_is_pulled_forward(database: Database) -> None:
    task = submit_one(database, delay=HOUR)
    pulled = run_now(database, task.id)
    assert pulled is not None
    assert pulled.not_before is not None
    assert task.not_before is not None
    assert pulled.not_before < task.not_before
    assert (pulled.run_at, pulled.progress.seq) == (task.run_at, 1)
    assert claim_one(database).id == task.id


def test_a_retry_is_pulled_forward(database: Database) -> None:
    task = submit_one(database)
    settle_one(database, claim_one(database), answer(429, headers=(("retry-after", "3600"),)))
    assert claim_all(database) == []
    run_now(database, task.id)
    assert claim_one(database).progress.number == 2


def test_what_is_due_already_stays_as_it_is(database: Database, clock: Clock) -> None:
    task = submit_one(database)
    clock.advance(minutes=1)
    assert run_now(database, task.id) == task


def test_a_running_task_cannot_be_pulled_forward(database: Database) -> None:
    task = submit_one(database)
    claim_one(database)
    with pytest.raises(Conflict, match="the task is running already; only a waiting task can be run now"):
        run_now(database, task.id)


def test_nothing_is_pulled_over_its_expiry(database: Database, clock: Clock) -> None:
    task = submit_one(database, delay=HOUR, expires_in=2 * HOUR)
    clock.advance(hours=3)
    run_now(database, task.id)
    assert claim_all(database) == []
    with database.begin() as conn:
        found = leases.expired(conn, database, limit=10)
        now = database.now(conn)
        leases.settle(conn, database, [expire(each, now=now) for each in found])
    ending = look_up(database, task.id).ending
    assert ending is not None
    assert ending.reason is DeadReason.EXPIRED


def test_who_waits_for_ends_is_told_of_those_that_came(database: Database) -> None:
    waiting, done, called_off = (submit_one(database, delay=delay) for delay in (HOUR, timedelta(0), timedelta(0)))
    claimed = {task.id: task for task in claim_all(database)}
    settle_one(database, claimed[done.id], answer(200))
    cancel(database, called_off.id)  # its tombstone still stands
    unknown = TaskId(uuid4())
    asked = [("default", task_id) for task_id in (waiting.id, done.id, called_off.id, unknown)]
    assert ended(database, *asked) == {done.id, called_off.id, unknown}
    assert ended(database) == set()
    assert ended(database, ("other", waiting.id)) == {waiting.id}


def test_a_redriven_task_is_alive_again(database: Database) -> None:
    dead = kill_one(database)
    assert ended(database, ("default", dead.id)) == {dead.id}
    redrive(database)
    assert ended(database, ("default", dead.id)) == set()


def test_the_webhooks_of_a_task_are_found_without_a_look_at_other_tasks(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    with database.read() as conn:
        with plans.statements(conn) as seen:
            tasks.webhooks(conn, "default", TaskId(uuid4()))
        (found,) = [plans.plan(conn, statement) for statement in seen]
    database.close()
    assert "uq_tasks_cause (project=? AND cause_task_id=?)" in found
    assert "TEMP B-TREE" not in found
