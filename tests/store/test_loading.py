"""Whole tasks by id, whatever state each is in and whatever wrote it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select

from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import Task, TaskId, TaskState, WebhookEvent
from taskqueue.store import dead_letters, loading, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetter, DeadLetterFilter, Edits
from taskqueue.store.schema import attempts
from taskqueue.store.schema import tasks as tasks_table
from tests.support.builders import answer, claim_all, claim_one, kill_one, look_up, settle_one, submit_one

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
        conn.execute(attempts.update().values({"class": "function_timeout"}))
    last = look_up(database, task.id).last_attempt
    assert last is not None
    assert (last.outcome.cls.name, last.outcome.cls.retryable) == ("function_timeout", False)
    with database.begin() as conn:
        conn.execute(attempts.update().values({"class": "server_error"}))


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
