"""How long a task is kept trying: budgets, deferrals, lost workers, expiry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.errors import Conflict
from taskqueue.core.lifecycle import expire
from taskqueue.core.memory import Memory
from taskqueue.core.outcome import Phase
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import Progress, TaskState, WebhookEvent
from tests.core.examples import HOOKED, NOW, after, answered, cut, decided, queued, running

SECOND = timedelta(seconds=1)
RA = (("retry-after", "120"),)


@pytest.mark.parametrize("retries", [0, 1, 3, 100])
def test_a_task_is_tried_once_and_then_as_often_as_it_has_retries(retries: int) -> None:
    last = decided(after(*["server_error"] * retries, retries=retries), answered(500))
    assert last.ending is not None
    assert last.ending.reason is DeadReason.EXHAUSTED
    if retries:
        before = decided(after(*["server_error"] * (retries - 1), retries=retries), answered(500))
        assert before.state is TaskState.QUEUED


def test_a_classs_own_bound_counts_only_outcomes_of_that_class() -> None:
    assert decided(after("server_error", "server_error", "conflict", "conflict", retries=9), answered(409)).wait
    settlement = decided(after("conflict", "server_error", "conflict", "conflict", retries=9), answered(409))
    assert settlement.ending is not None
    assert settlement.ending.reason is DeadReason.EXHAUSTED


def test_a_classs_own_bound_lies_inside_the_tasks_budget() -> None:
    settlement = decided(after("server_error", retries=1), answered(409))
    assert settlement.ending is not None
    assert settlement.ending.reason is DeadReason.EXHAUSTED


def test_a_rejection_ignores_the_budget() -> None:
    settlement = decided(running(retries=100), answered(400))
    assert settlement.ending is not None
    assert settlement.ending.reason is DeadReason.REJECTED


def test_a_target_may_ask_for_a_retry_where_the_table_gives_none() -> None:
    told = answered(400, headers=(("taskqueue-control", "retry"),))
    assert told.forced_retry
    settlement = decided(running(), told)
    assert settlement.state is TaskState.QUEUED
    assert settlement.progress.charged == 1
    spent = decided(after(*["bad_request"] * 3, retries=3), told)
    assert spent.ending is not None
    assert spent.ending.reason is DeadReason.EXHAUSTED


def test_a_deferral_uses_up_no_retry() -> None:
    task = running(retries=0)
    for count in range(1, 30):
        settlement = decided(task, answered(429))
        assert settlement.state is TaskState.QUEUED
        assert (settlement.progress.charged, settlement.progress.deferred) == (0, count)
        task = running(progress=settlement.progress, retries=0)


def test_the_wait_of_a_deferral_grows_over_consecutive_ones_alone() -> None:
    deferred = decided(running(), answered(429))
    again = decided(running(progress=deferred.progress), answered(429))
    assert (deferred.wait, again.wait) == (2 * SECOND, 4 * SECOND)
    between = decided(running(progress=again.progress), answered(500))
    assert between.progress.memory.deferrals == 0
    assert decided(running(progress=between.progress), answered(429)).wait == 2 * SECOND


def test_a_charged_wait_does_not_grow_by_deferrals() -> None:
    task = running(progress=Progress(seq=9, number=8, deferred=7, memory=Memory(deferrals=7)))
    assert decided(task, answered(500)).wait == 2 * SECOND


def test_a_deferral_honours_what_the_target_asks_for() -> None:
    assert decided(running(), answered(429, headers=RA), jitter=0.0).wait == 120 * SECOND
    assert decided(running(), answered(429, headers=RA), jitter=1.0).wait == 132 * SECOND


def test_a_charged_wait_honours_what_the_target_asks_for_unless_its_own_is_longer() -> None:
    assert decided(running(), answered(502, headers=RA), jitter=1.0).wait == 132 * SECOND
    late = after(*["bad_gateway"] * 9, retries=20)
    assert decided(late, answered(502, headers=RA)).wait == 900 * SECOND


def test_a_retry_after_is_cut_to_a_day() -> None:
    settlement = decided(running(), answered(429, headers=(("retry-after", "31536000"),)), jitter=0.0)
    assert settlement.wait == timedelta(days=1)


def test_a_released_attempt_is_due_again_at_once() -> None:
    settlement = decided(running(retries=0), cut("released", Phase.NONE))
    assert (settlement.wait, settlement.progress.deferred) == (timedelta(0), 1)


@pytest.mark.parametrize("name", ["worker_lost", "interrupted"])
def test_a_task_that_loses_its_workers_dies_beyond_the_limit(name: str) -> None:
    task = running(retries=0)
    for _ in range(3):
        settlement = decided(task, cut(name))
        assert settlement.wait == timedelta(0)
        task = running(progress=settlement.progress, retries=0)
    settlement = decided(task, cut(name))
    assert settlement.ending is not None
    assert settlement.ending.reason is DeadReason.LOST
    assert (settlement.progress.lost, settlement.progress.charged) == (4, 0)


def test_the_two_ways_to_be_lost_share_one_limit() -> None:
    task = running(progress=Progress(seq=8, number=4, lost=3))
    for name in ("worker_lost", "interrupted"):
        settlement = decided(task, cut(name))
        assert settlement.ending is not None
        assert settlement.ending.reason is DeadReason.LOST


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_an_operator_may_set_the_lost_limit(limit: int) -> None:
    within, beyond = (running(progress=Progress(number=1, lost=lost)) for lost in (limit - 1, limit))
    if limit:
        assert decided(within, cut("worker_lost"), lost_limit=limit).state is TaskState.QUEUED
    assert decided(beyond, cut("worker_lost"), lost_limit=limit).state is TaskState.DEAD


def fixed(seconds: float) -> Backoff:
    return Backoff(type=BackoffType.FIXED, initial=timedelta(seconds=seconds), jitter=Jitter.NONE)


def test_a_task_dies_now_if_its_next_attempt_would_come_at_its_expiry_or_later() -> None:
    for left in (10 * SECOND, 9 * SECOND, -SECOND):
        settlement = decided(running(backoff=fixed(10), expires_in=left), answered(500))
        assert settlement.ending is not None
        assert settlement.ending.reason is DeadReason.EXPIRED
        assert settlement.ending.cls == "server_error"
    alive = decided(running(backoff=fixed(10), expires_in=10 * SECOND + timedelta(microseconds=1)), answered(500))
    assert alive.wait == 10 * SECOND


def test_expiry_bounds_deferrals_and_losses_too() -> None:
    for outcome in (answered(429, headers=RA), cut("worker_lost"), cut("released")):
        settlement = decided(running(expires_in=timedelta(0)), outcome)
        assert settlement.ending is not None
        assert settlement.ending.reason is DeadReason.EXPIRED


def test_a_spent_budget_is_named_before_expiry() -> None:
    settlement = decided(after(*["server_error"] * 3, retries=3, expires_in=-SECOND), answered(500))
    assert settlement.ending is not None
    assert settlement.ending.reason is DeadReason.EXHAUSTED


def test_a_waiting_task_past_its_expiry_dies_without_an_attempt() -> None:
    settlement = expire(queued(progress=Progress(seq=4, number=1, charged=1), **HOOKED), now=NOW)
    assert settlement.ending is not None
    assert (settlement.state, settlement.ending.reason) == (TaskState.DEAD, DeadReason.EXPIRED)
    assert (settlement.attempt, settlement.ending.attempt_id) == (None, None)
    assert settlement.progress == Progress(seq=5, number=1, charged=1)
    assert settlement.events == (WebhookEvent.DEAD,)


def test_what_has_ended_cannot_expire() -> None:
    for state in (TaskState.SUCCEEDED, TaskState.CANCELLED, TaskState.DEAD):
        with pytest.raises(Conflict):
            expire(queued(state=state), now=NOW)
