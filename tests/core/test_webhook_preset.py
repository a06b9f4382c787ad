"""A webhook is sent until 2xx or its schedule ends; only 410 and a forbidden address stop it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.outcome import CLASSES, Outcome, Phase
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import NORMAL
from taskqueue.core.task import DEFAULT_EXPIRY, Progress, TaskState
from tests.core.examples import UNANSWERED, answered, cut, decided, running_webhook

STATUS = {
    "redirect": 302,
    "bad_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "too_large": 413,
    "request_timeout": 408,
    "conflict": 409,
    "too_early": 425,
    "throttled": 429,
    "aborted": 489,
    "server_error": 500,
    "bad_gateway": 502,
    "unavailable": 503,
    "gateway_timeout": 504,
}
FAULTY_FUNCTION = [
    answered(200, headers=(("x-amz-function-error", "Handled"),)),
    answered(200, headers=(("x-amz-function-error", "Unhandled"),)),
]
OURS = {"local_resource", "released", "worker_lost", "interrupted"}
STOPPED = {"gone", "target_forbidden", "cancelled"}
CHARGED: list[Outcome] = [
    *(answered(status) for status in STATUS.values()),
    *FAULTY_FUNCTION,
    answered(200, complete=False),
    *(cut(name) for name in sorted(UNANSWERED - OURS - STOPPED)),
]


def named(outcome: Outcome) -> str:
    return outcome.cls.name


def test_every_class_is_looked_at_here() -> None:
    assert {named(outcome) for outcome in CHARGED} | OURS | STOPPED | {"success"} == set(CLASSES)


@pytest.mark.parametrize("outcome", CHARGED, ids=named)
def test_a_webhook_is_sent_ten_times_more_on_its_schedule_whatever_the_answer(outcome: Outcome) -> None:
    waits, task = [], running_webhook()
    while (settlement := decided(task, outcome, jitter=0.5)).wait is not None:
        waits.append(settlement.wait)
        task = running_webhook(progress=settlement.progress)
    seconds = [5, 60, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert waits == [timedelta(seconds=length) for length in seconds]
    assert settlement.ending is not None
    assert (settlement.state, settlement.ending.reason) == (TaskState.DEAD, DeadReason.EXHAUSTED)


@pytest.mark.parametrize("outcome", CHARGED, ids=named)
def test_a_webhooks_waits_vary_by_a_fifth(outcome: Outcome) -> None:
    least, most = (decided(running_webhook(), outcome, jitter=jitter).wait for jitter in (0.0, 1.0))
    assert (least, most) == (timedelta(seconds=4), timedelta(seconds=6))


def test_a_receiver_that_names_a_time_is_left_alone_until_then() -> None:
    busy = answered(429, headers=(("retry-after", "3600"),))
    settlement = decided(running_webhook(), busy, jitter=0.0)
    assert (settlement.wait, settlement.progress.charged) == (timedelta(hours=1), 1)


SENT_AWAY = [
    answered(410),
    answered(410, headers=(("taskqueue-control", "abort"),)),
    answered(410, headers=(("taskqueue-control", "retry"),)),
    cut("target_forbidden"),
]


@pytest.mark.parametrize("outcome", SENT_AWAY, ids=named)
def test_a_receiver_that_is_gone_or_forbidden_stops_it(outcome: Outcome) -> None:
    settlement = decided(running_webhook(), outcome)
    assert settlement.ending is not None
    assert (settlement.state, settlement.ending.reason) == (TaskState.DEAD, DeadReason.REJECTED)


def test_a_2xx_ends_it() -> None:
    assert decided(running_webhook(), answered(204)).state is TaskState.SUCCEEDED


@pytest.mark.parametrize("name", ["local_resource", "released"])
def test_our_own_trouble_is_not_charged_to_the_receiver(name: str) -> None:
    task = running_webhook()
    for _ in range(30):
        settlement = decided(task, cut(name, Phase.NONE))
        assert settlement.state is TaskState.QUEUED
        task = running_webhook(progress=settlement.progress)
    assert (task.progress.charged, task.progress.deferred) == (0, 30)


@pytest.mark.parametrize("name", ["worker_lost", "interrupted"])
def test_lost_workers_count_against_their_own_limit(name: str) -> None:
    lost = decided(running_webhook(progress=Progress(seq=8, number=4, lost=3)), cut(name))
    assert lost.ending is not None
    assert lost.ending.reason is DeadReason.LOST
    assert decided(running_webhook(progress=Progress(seq=6, number=3, lost=2)), cut(name)).wait == timedelta(0)


def test_a_backoff_of_a_tasks_own_means_nothing_to_its_webhooks() -> None:
    assert decided(running_webhook(backoff=NORMAL), answered(500), jitter=0.5).wait == timedelta(seconds=5)


def test_the_whole_schedule_fits_into_a_webhooks_life() -> None:
    total, task = timedelta(0), running_webhook()
    while (settlement := decided(task, cut("timeout"), jitter=1.0)).wait is not None:
        total += settlement.wait + task.spec.timeout
        task = running_webhook(progress=settlement.progress)
    assert total < DEFAULT_EXPIRY
