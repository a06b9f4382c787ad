"""Every row of the tables of outcome classes, written from the design's document and not from the code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import pytest

from taskqueue.core.outcome import CLASSES, Compensation, Outcome, Partial, Phase
from taskqueue.core.reason import DeadReason
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import TaskState
from tests.core.examples import after, answered, cut, decided, running

NO, POSSIBLE, LIKELY = Partial.NO, Partial.POSSIBLE, Partial.LIKELY
ALWAYS, NEVER = 1000, 0  # of retries
SECOND = timedelta(seconds=1)
# B: base 2 s, cap 15 min. Bs: base 30 s, cap 1 h.
B, BS = (2, 15 * 60), (30, 60 * 60)
AT_ONCE = (0, 0)
RA = (("retry-after", "120"),)


class Row(NamedTuple):
    """What the document says of one class."""

    name: str
    retries: int  # after outcomes of this class: never, at most so many, or as many as the task has
    partial: Partial
    wait: tuple[int, int] | None = None  # seconds: the first whole wait, and the longest
    compensation: str = "no"
    breaker: bool = False  # †
    risky: bool = False
    charge: str = "yes"  # or "free", "lost"
    retry_after: bool = False  # RA


NEVER_REACHED = (
    Row("dns_not_found", 3, NO, BS),
    Row("dns_failure", ALWAYS, NO, B, breaker=True),
    Row("target_forbidden", NEVER, NO),
    Row("connect_refused", ALWAYS, NO, B, breaker=True),
    Row("connect_unreachable", ALWAYS, NO, B, breaker=True),
    Row("connect_timeout", ALWAYS, NO, B, breaker=True),
    Row("tls_certificate", NEVER, NO),
    Row("tls_handshake", 3, NO, BS),
    Row("tls_timeout", ALWAYS, NO, B, breaker=True),
    Row("local_resource", ALWAYS, NO, B, charge="free"),
    Row("released", ALWAYS, NO, AT_ONCE, charge="free"),
)
CUT_OFF = (
    Row("send_aborted", ALWAYS, POSSIBLE, B, breaker=True),
    Row("no_response", ALWAYS, POSSIBLE, B, compensation="depends", breaker=True),
    Row("timeout", ALWAYS, LIKELY, B, compensation="yes", breaker=True, risky=True),
    Row("truncated_response", ALWAYS, LIKELY, B, compensation="check"),
    Row("protocol_error", 3, POSSIBLE, B, compensation="depends"),
    Row("redirect", NEVER, POSSIBLE),
    Row("worker_lost", 3, POSSIBLE, AT_ONCE, compensation="depends", charge="lost"),
    Row("interrupted", 3, POSSIBLE, AT_ONCE, compensation="depends", charge="lost"),
    Row("cancelled", NEVER, POSSIBLE),
)
ANSWERED = (
    Row("bad_request", NEVER, NO),
    Row("unauthorized", NEVER, NO),
    Row("not_found", NEVER, NO),
    Row("gone", NEVER, NO),
    Row("too_large", NEVER, NO),
    Row("request_timeout", ALWAYS, POSSIBLE, B, compensation="depends"),
    Row("conflict", 3, LIKELY, BS, retry_after=True),
    Row("too_early", ALWAYS, NO, B),
    Row("throttled", ALWAYS, NO, B, charge="free", retry_after=True),
    Row("aborted", NEVER, NO),
    Row("server_error", ALWAYS, POSSIBLE, B, compensation="depends", breaker=True),
    Row("bad_gateway", ALWAYS, POSSIBLE, B, compensation="depends", breaker=True, retry_after=True),
    Row("unavailable", ALWAYS, NO, B, breaker=True, retry_after=True),  # without Retry-After; with it see below
    Row("gateway_timeout", ALWAYS, LIKELY, BS, compensation="yes", breaker=True, risky=True),
)
LAMBDA = (
    Row("service_error", ALWAYS, NO, B),
    Row("function_config", NEVER, NO),
    Row("function_not_ready", ALWAYS, NO, BS),
    Row("function_handled_error", NEVER, POSSIBLE, compensation="depends"),
    Row("function_error", 3, POSSIBLE, B, compensation="depends"),
    Row("function_timeout", ALWAYS, LIKELY, BS, compensation="yes", risky=True),
    Row("function_out_of_memory", 1, LIKELY, BS, compensation="yes"),
    Row("function_crashed", 2, LIKELY, BS, compensation="yes"),
    Row("function_init_failed", 3, NO, BS),
    Row("function_bad_result", NEVER, LIKELY, compensation="check"),
)
# Not in the document: what a verdict rule makes of an answer is a class of its own.
ADDED = (
    Row("verdict_retry", ALWAYS, POSSIBLE, B, compensation="depends", retry_after=True),
    Row("verdict_fail", NEVER, POSSIBLE, compensation="depends"),
    Row("verdict_defer", ALWAYS, NO, B, charge="free", retry_after=True),
)
DOCUMENTED = (*NEVER_REACHED, *CUT_OFF, *ANSWERED, *LAMBDA)
TABLE = (*DOCUMENTED, *ADDED)
STATUSES = {
    "success": (200, 201, 202, 204, 206, 226, 299),
    "redirect": (301, 302, 303, 307, 308),
    "bad_request": (400, 405, 406, 411, 412, 414, 415, 417, 421, 422, 426, 428, 431, 501, 418, 451, 499),
    "unauthorized": (401, 402, 403, 407),
    "not_found": (404,),
    "gone": (410,),
    "too_large": (413,),
    "request_timeout": (408,),
    "conflict": (409, 423, 424),
    "too_early": (425,),
    "throttled": (429,),
    "aborted": (489,),
    "server_error": (500, 507, 508, 505, 506, 511, 528, 531, 597),
    "bad_gateway": (502, 520, 521, 522, 523, 524, 525, 526, 527, 530),
    "unavailable": (503, 529),
    "gateway_timeout": (504, 598, 599),
    "protocol_error": (100, 101, 103, 199, 600, 999, 0),
}
EVERY_ROW = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
RETRIED = pytest.mark.parametrize("row", [row for row in TABLE if row.retries], ids=lambda row: row.name)


def outcome_of(row: Row, headers: tuple[tuple[str, str], ...] = ()) -> Outcome:
    """An outcome of this class, by way of a status where an answer leads to it."""
    if row in LAMBDA or row in ADDED:
        return replace(answered(200, headers=headers), cls=CLASSES[row.name])
    if row.name == "truncated_response":
        return answered(200, headers=headers, complete=False)
    if row.name in STATUSES:
        return answered(STATUSES[row.name][0], headers=headers)
    return cut(row.name, {"send_aborted": Phase.SENDING, "local_resource": Phase.CONNECT}.get(row.name, Phase.SENT))


def exhaust(row: Row, retries: int) -> tuple[int, Settlement]:
    """How often a task is retried when every attempt ends like this, and how it ends."""
    task = running(retries=retries)
    for count in range(ALWAYS):
        settlement = decided(task, outcome_of(row))
        if settlement.ending is not None:
            return count, settlement
        task = running(progress=settlement.progress, retries=retries)
    return ALWAYS, settlement


def test_the_code_knows_the_classes_of_the_document_and_three_more_for_verdicts() -> None:
    documented = {"success", *(row.name for row in DOCUMENTED)}
    assert (
        set(CLASSES) - documented == {row.name for row in ADDED} == {"verdict_retry", "verdict_fail", "verdict_defer"}
    )
    assert documented <= set(CLASSES)


@pytest.mark.parametrize(("name", "status"), [(name, code) for name, codes in STATUSES.items() for code in codes])
def test_each_status_is_read_as_its_class(name: str, status: int) -> None:
    assert answered(status).cls.name == name


@EVERY_ROW
def test_each_class_is_reached(row: Row) -> None:
    assert outcome_of(row).cls.name == row.name


@EVERY_ROW
def test_each_class_tells_how_much_work_may_have_been_done(row: Row) -> None:
    assert outcome_of(row).partial == row.partial


@EVERY_ROW
def test_each_class_tells_whether_somebody_must_make_amends(row: Row) -> None:
    assert outcome_of(row).cls.compensation == Compensation(row.compensation)


@EVERY_ROW
def test_each_class_tells_whether_it_opens_the_breaker_and_whether_a_retry_is_risky(row: Row) -> None:
    cls = outcome_of(row).cls
    assert (cls.opens_breaker, cls.risky) == (row.breaker, row.risky)


@EVERY_ROW
def test_each_class_is_retried_as_often_as_it_may(row: Row) -> None:
    retries, _ = exhaust(row, retries=10)
    bound = row.retries
    if bound == ALWAYS and row.charge == "yes":
        bound = 10  # the task's own budget
    assert retries == bound


@RETRIED
def test_the_tasks_own_budget_bounds_every_charged_class(row: Row) -> None:
    retries, settlement = exhaust(row, retries=1)
    assert retries == {"yes": 1, "lost": 3, "free": ALWAYS}[row.charge]
    if row.charge == "yes":
        assert settlement.ending is not None
        assert settlement.ending.reason is DeadReason.EXHAUSTED


@EVERY_ROW
def test_a_class_that_is_not_retried_is_rejected_at_once(row: Row) -> None:
    settlement = decided(running(), outcome_of(row))
    if row.retries:
        assert settlement.state is TaskState.QUEUED
    else:
        assert settlement.ending is not None
        assert (settlement.state, settlement.ending.reason) == (TaskState.DEAD, DeadReason.REJECTED)


@EVERY_ROW
def test_each_class_is_charged_as_the_document_says(row: Row) -> None:
    settlement = decided(running(), outcome_of(row))
    progress = settlement.progress
    counted = {"yes": (1, 0, 0), "lost": (0, 1, 0), "free": (0, 0, 1)}[row.charge]
    assert (progress.charged, progress.lost, progress.deferred) == counted
    assert settlement.attempt is not None
    assert settlement.attempt.charged == (row.charge == "yes")


@RETRIED
def test_each_class_waits_as_long_as_the_document_says(row: Row) -> None:
    assert row.wait is not None
    first, longest = row.wait
    assert decided(running(), outcome_of(row)).wait == first * SECOND
    if row.charge != "lost":
        assert _wait_after_many(row) == longest * SECOND


@RETRIED
def test_jitter_takes_from_a_wait_and_never_adds_to_it(row: Row) -> None:
    assert row.wait is not None
    least = decided(running(), outcome_of(row), jitter=0.0).wait
    # A deferral is never under a second: its crowd would come back at once.
    assert least == (SECOND if row.charge == "free" and row.wait != AT_ONCE else 0 * SECOND)


@RETRIED
def test_retry_after_is_honoured_by_the_classes_that_say_so_and_by_no_others(row: Row) -> None:
    wait = decided(running(), outcome_of(row, RA), jitter=0.0).wait
    assert (wait == 120 * SECOND) == row.retry_after


def test_an_unavailable_target_that_names_a_time_is_not_charged() -> None:
    settlement = decided(running(), answered(503, headers=RA))
    assert (settlement.progress.charged, settlement.progress.deferred) == (0, 1)
    assert settlement.attempt is not None
    assert not settlement.attempt.charged


def test_an_unavailable_target_whose_retry_after_cannot_be_read_is_charged() -> None:
    settlement = decided(running(), answered(503, headers=(("retry-after", "soon"),)))
    assert (settlement.progress.charged, settlement.progress.deferred) == (1, 0)


def _wait_after_many(row: Row) -> timedelta | None:
    """The wait once it has grown to its longest, with every budget out of the way."""
    if row.charge == "free":
        task = running()
        for _ in range(20):
            settlement = decided(task, outcome_of(row))
            task = running(progress=settlement.progress)
        return settlement.wait
    return decided(after("dns_failure", charged=40, retries=100), outcome_of(row)).wait
