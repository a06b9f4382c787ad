"""The failure path may not fail for ever: what one settlement suffers from is not the others' concern."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from taskqueue.core.lifecycle import decide, expire
from taskqueue.core.outcome import Outcome, Response, failed
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store.database import Database
from taskqueue.worker.settling import write
from tests.support.builders import answer, claim_all, claim_one, look_up, settle_one, submit_one

LIMITS = Limits()
UNSTORABLE = "half of a character: \ud800"


def settlement(database: Database, task: Task, outcome: Outcome) -> Settlement:
    with database.read() as conn:
        return decide(task, outcome, now=database.now(conn), jitter=0.5, limits=LIMITS)


@pytest.fixture
def three(database: Database) -> list[Task]:
    for _ in range(3):
        submit_one(database)
    return claim_all(database)


def test_settlements_are_written_together(database: Database, three: list[Task]) -> None:
    written = write(database, [settlement(database, task, answer()) for task in three], limits=LIMITS)
    assert (written.stale, written.refused, written.plainer) == (set(), [], [])
    assert {look_up(database, task.id).state for task in three} == {TaskState.SUCCEEDED}


def test_an_outcome_that_cannot_be_stored_is_recorded_in_plain_words(database: Database, three: list[Task]) -> None:
    outcomes = [answer(), failed("no_response", "Reset", UNSTORABLE), answer()]
    batch = [settlement(database, task, outcome) for task, outcome in zip(three, outcomes, strict=True)]
    written = write(database, batch, limits=LIMITS)
    assert [task_id for task_id, _ in written.plainer] == [three[1].id]
    assert written.refused == []
    first, odd, last = (look_up(database, task.id) for task in three)
    assert (first.state, odd.state, last.state) == (TaskState.SUCCEEDED, TaskState.QUEUED, TaskState.SUCCEEDED)
    assert odd.last_attempt is not None
    assert odd.last_attempt.outcome.cls.name == "no_response"
    assert "could not be recorded" in (odd.last_attempt.outcome.error_message or "")


def test_a_success_stays_one_when_its_answer_cannot_be_stored(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    odd = replace(answer(), response=Response(status=200, headers=(("x-odd", UNSTORABLE),)), error_type=UNSTORABLE)
    written = write(database, [settlement(database, task, odd)], limits=LIMITS)
    assert [task_id for task_id, _ in written.plainer] == [task.id]
    assert look_up(database, task.id).state is TaskState.SUCCEEDED


def test_what_cannot_be_told_as_it_ended_is_tried_again_as_a_failure_of_our_own(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    dead = settlement(database, task, answer(400))
    assert dead.ending is not None
    # An ending the tables refuse, whatever the attempt says.
    broken = replace(dead, ending=replace(dead.ending, reason=None))
    written = write(database, [broken], limits=LIMITS)
    assert [task_id for task_id, _ in written.plainer] == [task.id]
    after = look_up(database, task.id)
    assert after.state is TaskState.QUEUED
    assert after.last_attempt is not None
    assert after.last_attempt.outcome.cls.name == "local_resource"


def test_a_lapsed_lease_is_never_settled_as_anything_else(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    lost = settlement(database, task, failed("worker_lost", "LeaseLapsed", UNSTORABLE))
    # The lease holds: whoever took it for lapsed must not end the attempt by another name.
    assert write(database, [lost], limits=LIMITS).stale == {task.id}
    assert look_up(database, task.id).state is TaskState.RUNNING


def test_a_settlement_refused_in_every_form_is_named_and_the_others_are_written(database: Database) -> None:
    waiting = submit_one(database, delay=timedelta(hours=1))
    submit_one(database)
    task = claim_one(database)
    with database.read() as conn:
        expired = expire(waiting, now=database.now(conn))
    assert expired.ending is not None
    broken = replace(expired, ending=replace(expired.ending, fingerprint=UNSTORABLE))
    written = write(database, [broken, settlement(database, task, answer())], limits=LIMITS)
    assert [task_id for task_id, _ in written.refused] == [waiting.id]
    assert look_up(database, waiting.id).state is TaskState.QUEUED
    assert look_up(database, task.id).state is TaskState.SUCCEEDED


def test_a_stale_settlement_writes_nothing_and_is_named(database: Database, three: list[Task]) -> None:
    assert settle_one(database, three[0], answer())
    late = [settlement(database, task, answer(500)) for task in three]
    assert write(database, late, limits=LIMITS).stale == {three[0].id}
    assert look_up(database, three[0].id).state is TaskState.SUCCEEDED
