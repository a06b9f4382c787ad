"""Whole tasks by id, whatever state each is in and whatever wrote it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select

from taskqueue.core.outcome import lapsed
from taskqueue.core.policy import OnUnknown, Policy, Reconcile
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import AttemptKind, Task, TaskId, TaskState, WebhookEvent
from taskqueue.store import dead_letters, leases, loading, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetter, DeadLetterFilter, Edits
from taskqueue.store.schema import attempts
from taskqueue.store.schema import tasks as tasks_table
from tests.support.builders import answer, claim_all, claim_one, kill_one, look_up, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")


def load(database: Database, *ids: TaskId, with_body: bool = True) -> dict[TaskId, Task]:
    with database.read() as conn:
        return loading.load(conn, "default", ids, with_body=with_body)


def every_letter(conn: Connection) -> list[DeadLetter]:
    wanted = DeadLetterFilter(include_redriven=True)
    return dead_letters.search(conn, "default", wanted, cursor=None, limit=9).items


def redrive(database: Database, edits: Edits) -> None:
    with database.begin() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=2).items
        dead_letters.redrive(conn, database, "default", letter.id, edits)


def test_tasks_in_every_state_are_loaded_at_once_as_each_stands(database: Database) -> None:
    waiting = submit_one(database, delay=timedelta(hours=1))
    done, failing, running, called_off = (submit_one(database) for _ in range(4))
    claimed = {task.id: task for task in claim_all(database)}
    settle_one(database, claimed[done.id], answer(200))
    settle_one(database, claimed[failing.id], answer(500))
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", called_off.id)
    ids = [task.id for task in (waiting, done, failing, running, called_off)]
    found = load(database, *ids, TaskId(uuid4()))
    assert list(map(found.get, ids)) == [look_up(database, id_) for id_ in ids]
    assert [found[id_].state.value for id_ in ids] == ["queued", "succeeded", "queued", "running", "cancelled"]
    assert [found[id_].last_attempt is not None for id_ in ids] == [False, True, True, False, True]
    assert load(database) == {}


def test_a_list_does_without_bodies(database: Database) -> None:
    edited, plain = kill_one(database, body=b"old"), submit_one(database, body=b"x" * 1000)
    redrive(database, Edits(body=b"new", content_type="text/plain", retries=9))
    found = load(database, plain.id, edited.id, with_body=False)
    assert (found[plain.id].spec.body, found[edited.id].spec.body) == (None, None)
    assert (found[edited.id].spec.content_type, found[edited.id].spec.retries) == ("text/plain", 9)
    assert load(database, edited.id)[edited.id].spec.body == b"new"


def test_a_dead_task_knows_the_dead_letter_that_can_be_redriven(database: Database) -> None:
    dead, _ = kill_one(database), kill_one(database)
    with database.read() as conn:
        letters = every_letter(conn)
    for letter in letters:
        assert letter.id == letter.task.dead_letter_id == look_up(database, letter.task.id).dead_letter_id
    with database.begin() as conn:
        redriven = dead_letters.redrive(conn, database, "default", letters[-1].id)
    assert redriven is not None
    assert (redriven.dead_letter_id, look_up(database, dead.id).dead_letter_id) == (None, None)
    settle_one(database, claim_one(database), answer(400))
    with database.read() as conn:
        newest, _, oldest = every_letter(conn)
    assert newest.task.dead_letter_id == look_up(database, dead.id).dead_letter_id == newest.id
    assert oldest.task.dead_letter_id is None


def test_each_generation_is_loaded_as_it_ended(database: Database) -> None:
    dead = kill_one(database, body=b"one")
    for body, status in ((b"two", 404), (b"three", 410)):
        redrive(database, Edits(body=body))
        settle_one(database, claim_one(database), answer(status))
    classes, bodies = [], []
    with database.read() as conn:
        for generation in (1, 2, 3):
            task = loading.at_generation(conn, "default", [dead.id], generation, with_body=True)[dead.id]
            assert task.last_attempt is not None
            assert task.state is TaskState.DEAD
            classes.append(task.last_attempt.outcome.cls.name)
            bodies.append(task.spec.body)
        assert loading.at_generation(conn, "default", [], 1, with_body=True) == {}
    assert (classes, bodies) == (["bad_request", "not_found", "gone"], [b"one", b"two", b"three"])


def test_an_attempt_of_a_class_that_only_a_newer_version_knows_is_shown(database: Database) -> None:
    task = submit_one(database)
    settle_one(database, claim_one(database), answer(500))
    with database.begin() as conn:
        conn.execute(attempts.update().values({"class": "function_melted"}))
    last = look_up(database, task.id).last_attempt
    assert last is not None
    assert (last.outcome.cls.name, last.outcome.cls.retryable) == ("function_melted", False)
    with database.begin() as conn:
        conn.execute(attempts.update().values({"class": "server_error"}))


def test_a_call_and_an_asking_come_back_as_they_were(database: Database, clock: Clock) -> None:
    task = asked_about(database)
    failure = replace(answer(500), stack=("File one", "File two\x00\N{SNOWMAN}"))
    assert settle_one(database, claim_one(database), failure, jitter=0.0)
    clock.advance(seconds=1)
    assert settle_one(database, claim_one(database), answer(500), jitter=0.0)
    with database.read() as conn:
        (_, call), (_, asking) = tasks.attempts(conn, "default", task.id)
    assert (call.kind, asking.kind) == (AttemptKind.CALL, AttemptKind.RECONCILE)
    assert call.outcome.stack == ("File one", "File two\x00\N{SNOWMAN}")
    assert call.fingerprint is not None
    assert asking.outcome.stack == ()


@pytest.mark.parametrize(
    ("said", "state", "kind", "status"),
    [
        (b'{"state": "done", "result": {"n": 1}}', TaskState.SUCCEEDED, AttemptKind.RECONCILE, 200),
        (b'{"state": "unknown"}', TaskState.DEAD, AttemptKind.CALL, 500),
        (b'{"state": "not-done"}', TaskState.QUEUED, AttemptKind.CALL, 500),
        (b"what?", TaskState.QUEUED, AttemptKind.CALL, 500),
    ],
)
def test_the_last_attempt_is_a_call_unless_somebody_else_knew_the_result(
    database: Database, clock: Clock, said: bytes, state: TaskState, kind: AttemptKind, status: int
) -> None:
    task = asked_about(database)
    settle_one(database, claim_one(database), answer(500), jitter=0.0)
    assert look_up(database, task.id).last_attempt is not None
    clock.advance(seconds=1)
    asking = claim_one(database)
    assert asking.progress.memory.asking is not None
    settle_one(database, asking, answer(200, body=said), jitter=0.0)
    found = look_up(database, task.id)
    assert found.state is state
    assert found.last_attempt is not None
    assert found.last_attempt.outcome.response is not None
    assert (found.last_attempt.kind, found.last_attempt.outcome.response.status) == (kind, status)
    if state is TaskState.DEAD:
        with database.read() as conn:
            (letter,) = every_letter(conn)
        assert letter.task.last_attempt == found.last_attempt


def test_a_cancelled_asking_is_not_the_last_attempt(database: Database, clock: Clock) -> None:
    task = asked_about(database)
    settle_one(database, claim_one(database), answer(500), jitter=0.0)
    clock.advance(seconds=1)
    claim_one(database)
    with database.begin() as conn:
        called_off = tasks.cancel(conn, database, "default", task.id)
    assert called_off is not None
    assert called_off.last_attempt is not None
    assert (called_off.last_attempt.kind, called_off.last_attempt.number) == (AttemptKind.CALL, 1)


def test_a_lapsed_asking_is_found_with_its_question(database: Database, clock: Clock) -> None:
    task = asked_about(database)
    settle_one(database, claim_one(database), answer(500), jitter=0.0)
    clock.advance(seconds=1)
    claim_one(database)
    clock.advance(seconds=20)
    with database.begin() as conn:
        (found,) = leases.lapsed(conn, database, limit=9)
    assert found.id == task.id
    assert found.progress.memory.asking is not None
    settle_one(database, found, lapsed(), jitter=0.0)
    again = look_up(database, task.id)
    assert (again.progress.lost, again.progress.deferred) == (0, 1)
    assert again.last_attempt is not None
    assert again.last_attempt.number == 1


def asked_about(database: Database) -> Task:
    """A task about which somebody is asked, and that dies if they do not know."""
    asking = Reconcile(url="https://target.example/done", timeout=timedelta(seconds=9), on_unknown=OnUnknown.HOLD)
    return submit_one(database, policy=Policy(reconcile=asking))


@pytest.mark.parametrize("kind", BackoffType)
@pytest.mark.parametrize("jitter", Jitter)
def test_every_backoff_comes_back_as_it_was(database: Database, kind: BackoffType, jitter: Jitter) -> None:
    backoff = Backoff(
        type=kind,
        jitter=jitter,
        initial=timedelta(microseconds=1),
        factor=1.0000001,
        max=timedelta(days=365),
        schedule=(timedelta(seconds=0.1), timedelta(days=30)) if kind is BackoffType.SCHEDULE else (),
    )
    assert look_up(database, submit_one(database, backoff=backoff).id).spec.backoff == backoff


@pytest.mark.parametrize("count", range(5))
def test_every_choice_of_events_comes_back_as_it_was(database: Database, count: int) -> None:
    events = frozenset(sorted(WebhookEvent)[:count])
    task = submit_one(database, webhook_events=events)
    assert look_up(database, task.id).spec.webhook_events == events
    with database.read() as conn:
        assert conn.execute(select(tasks_table.c.id)).scalars().all() == [task.id]
