"""Which state may follow which, and what a task that ends or is tried again leaves behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from taskqueue.core.errors import Conflict
from taskqueue.core.lifecycle import TRANSITIONS, cancel, expire, redriven, require
from taskqueue.core.memory import Memory
from taskqueue.core.outcome import CLASSES, Outcome, Partial
from taskqueue.core.task import Progress, TaskState, WebhookEvent
from tests.core.examples import HOOKED, LEASE, NOW, after, an_attempt, answered, cut, decided, queued, running

SECOND = timedelta(seconds=1)
ALLOWED = {
    ("queued", "running"),
    ("queued", "dead"),
    ("queued", "cancelled"),
    ("running", "queued"),
    ("running", "succeeded"),
    ("running", "dead"),
    ("running", "cancelled"),
    ("dead", "queued"),
}
EVERY_PAIR = [(state, following) for state in TaskState for following in TaskState]
RA = (("retry-after", "120"),)


@pytest.mark.parametrize(("state", "following"), EVERY_PAIR)
def test_only_the_drawn_transitions_are_allowed(state: TaskState, following: TaskState) -> None:
    if (state.value, following.value) in ALLOWED:
        require(state, following)
        return
    with pytest.raises(Conflict) as raised:
        require(state, following)
    assert str(raised.value) == f"the task is {state}; it cannot become {following}"


def test_every_state_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(TaskState)


def test_a_state_is_an_end_exactly_when_no_attempt_may_follow() -> None:
    assert {state for state in TaskState if state.ended} == {
        state for state in TaskState if TaskState.RUNNING not in TRANSITIONS[state] and state is not TaskState.RUNNING
    }


def test_a_success_ends_the_task_whatever_came_before() -> None:
    settlement = decided(after("timeout", "timeout", "server_error", retries=3), answered(204))
    assert settlement.state is TaskState.SUCCEEDED
    assert settlement.ending is not None
    assert settlement.ending.reason is None
    assert settlement.ending.fingerprint is None
    assert settlement.ending.cls == "success"
    assert (settlement.ending.finished_at, settlement.wait) == (NOW, None)


def test_a_success_is_no_failure_on_record() -> None:
    settlement = decided(after("timeout"), answered(200))
    assert settlement.progress.memory.failures == {"timeout": 1}
    assert settlement.progress.memory.previous == "success"


def test_a_success_after_expiry_is_still_a_success() -> None:
    assert decided(running(expires_in=-SECOND), answered(200)).state is TaskState.SUCCEEDED


def test_the_last_attempt_of_a_budget_may_succeed() -> None:
    assert decided(after(*["server_error"] * 3, retries=3), answered(200)).state is TaskState.SUCCEEDED


def test_a_cancelled_waiting_task_ends_without_an_attempt() -> None:
    settlement = cancel(queued(**HOOKED), now=NOW)
    assert (settlement.state, settlement.attempt) == (TaskState.CANCELLED, None)
    assert settlement.progress == Progress(seq=2)
    assert settlement.events == (WebhookEvent.CANCELLED,)


def test_a_cancelled_running_task_leaves_its_attempt_on_record() -> None:
    settlement = cancel(running(**HOOKED), now=NOW)
    assert settlement.attempt is not None
    assert settlement.ending is not None
    assert (settlement.state, settlement.ending.reason) == (TaskState.CANCELLED, None)
    assert settlement.attempt.outcome.cls is CLASSES["cancelled"]
    assert settlement.attempt.outcome.partial is Partial.POSSIBLE
    assert settlement.attempt.outcome.error_type == "Cancelled"
    assert settlement.attempt.charged
    assert settlement.ending.worst_partial is Partial.POSSIBLE
    assert settlement.events == (WebhookEvent.CANCELLED,)


@pytest.mark.parametrize("state", [state for state in TaskState if state.ended])
def test_what_has_ended_cannot_be_cancelled(state: TaskState) -> None:
    with pytest.raises(Conflict, match=f"the task is {state}"):
        cancel(queued(state=state), now=NOW)


def test_a_redriven_task_starts_over_but_for_its_seq() -> None:
    spent = Progress(generation=2, seq=17, number=5, charged=4, lost=1, deferred=2, memory=Memory({"timeout": 4}))
    assert redriven(spent) == Progress(generation=3, seq=18)


def test_every_change_counts_seq_on_by_one() -> None:
    task = running(progress=Progress(seq=6, number=2))
    for settlement in (decided(task, answered(200)), decided(task, answered(500)), decided(task, answered(400))):
        assert settlement.progress.seq == 7
    assert cancel(task, now=NOW).progress.seq == 7
    assert expire(queued(progress=Progress(seq=6)), now=NOW).progress.seq == 7


def test_an_attempt_is_closed_under_the_id_number_and_worker_it_began_with() -> None:
    outcome = answered(500)
    attempt = decided(running(progress=Progress(seq=6, number=3)), outcome).attempt
    assert attempt is not None
    expected = replace(an_attempt(outcome, number=3), started_at=NOW - 2 * SECOND, fingerprint=attempt.fingerprint)
    assert attempt == expected
    assert attempt.id == LEASE.attempt_id


def test_exactly_one_of_wait_and_ending_is_set() -> None:
    for settlement in (decided(running(), answered(500)), decided(running(), answered(400)), expire(queued(), now=NOW)):
        assert (settlement.wait is None) != (settlement.ending is None)


def test_the_worst_partial_of_all_attempts_is_remembered() -> None:
    first = decided(running(), cut("timeout"))
    second = decided(running(progress=first.progress), answered(429))
    assert second.progress.memory.worst_partial is Partial.LIKELY
    last = decided(running(progress=second.progress), answered(400))
    assert last.ending is not None
    assert last.ending.worst_partial is Partial.LIKELY


def test_a_success_adds_no_partial_work() -> None:
    settlement = decided(running(), Outcome(cls=replace(CLASSES["success"], partial=Partial.LIKELY)))
    assert settlement.ending is not None
    assert settlement.ending.worst_partial is Partial.NO


def test_an_attempt_that_never_had_a_worker_named_is_recorded_all_the_same() -> None:
    attempt = decided(running(worker=None), answered(200)).attempt
    assert attempt is not None
    assert attempt.worker == ""


def test_a_task_without_a_lease_has_no_attempt_to_settle() -> None:
    with pytest.raises(AssertionError, match="only a running task"):
        decided(queued(), answered(200))
    with pytest.raises(AssertionError, match="an attempt has a start"):
        decided(running(started_at=None), answered(200))
