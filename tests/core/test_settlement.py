"""What is written with an ending: the follow-up that was asked for, and the fingerprint of the failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.core.lifecycle import cancel, expire
from taskqueue.core.outcome import CLASSES, Outcome, Phase
from taskqueue.core.policy import OnLost, Policy
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import AttemptKind, FollowUp, NewTask, TaskState
from tests.core.examples import NOW, a_spec, after, an_attempt, answered, cut, decided, queued, running
from tests.core.playing import again
from tests.core.test_reconcile import policy, said

COMPENSATION = NewTask(spec=a_spec(target_url="https://caller.example/undo"))
NEXT = NewTask(spec=a_spec(target_url="https://caller.example/next"))


def following(*match: str) -> dict[str, Any]:
    return {"on_failure": FollowUp(task=COMPENSATION, match=match), "on_success": FollowUp(task=NEXT)}


def followed(settlement: Settlement) -> NewTask | None:
    return settlement.follow_up.task if settlement.follow_up else None


def test_a_death_is_followed_by_the_compensation_and_a_success_by_what_comes_next() -> None:
    assert followed(decided(running(**following()), answered(400))) is COMPENSATION
    assert followed(decided(running(**following()), answered(200))) is NEXT


def test_a_task_that_goes_on_is_followed_by_nothing() -> None:
    assert followed(decided(running(**following()), answered(500))) is None


def test_a_cancelled_task_is_followed_by_nothing() -> None:
    assert followed(cancel(queued(**following()), now=NOW)) is None
    assert followed(cancel(running(**following()), now=NOW)) is None


def test_a_task_that_asks_for_nothing_is_followed_by_nothing() -> None:
    assert followed(decided(running(), answered(200))) is None
    assert followed(decided(running(), answered(400))) is None


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        *(("bad_request", True), ("bad_*", True), ("status:400", True), ("status:4xx", True)),
        *(("errorType:HTTP*", True), ("partial:no", True), ("reason:rejected", True)),
        *(("timeout", False), ("status:500", False), ("partial:likely", False), ("reason:exhausted", False)),
    ],
)
def test_a_compensation_may_be_for_some_deaths_only(pattern: str, matched: bool) -> None:
    settlement = decided(running(**following(pattern)), answered(400))
    assert (followed(settlement) is COMPENSATION) == matched


def test_a_glob_means_lost_workers_and_troubles_of_our_own_as_well() -> None:
    lost = decided(running(policy=Policy(on_lost=OnLost.DEAD), **following("*")), cut("worker_lost"))
    assert followed(lost) is COMPENSATION
    troubled = decided(running(expires_in=timedelta(0), **following("local_*")), cut("local_resource", Phase.NONE))
    assert followed(troubled) is COMPENSATION


@pytest.mark.parametrize("name", ["aborted", "target_forbidden", "verdict_fail"])
def test_a_firm_no_can_be_followed_by_name(name: str) -> None:
    assert followed(decided(running(**following(name)), Outcome(cls=CLASSES[name]))) is COMPENSATION


def test_the_partial_work_that_counts_is_the_worst_of_all_attempts() -> None:
    first = decided(running(**following("partial:likely")), cut("timeout"))
    dead = decided(again(first), answered(400))
    assert dead.attempt is not None
    assert dead.attempt.outcome.partial.label == "no"
    assert followed(dead) is COMPENSATION


def test_an_expired_task_is_matched_by_its_last_attempt() -> None:
    last = an_attempt(answered(409))
    task = queued(progress=decided(running(), answered(409)).progress, last_attempt=last, **following("status:409"))
    settlement = expire(task, now=NOW)
    assert followed(settlement) is COMPENSATION
    assert settlement.ending is not None
    rejected = decided(running(), answered(409)).attempt
    assert rejected is not None
    assert settlement.ending.fingerprint == rejected.fingerprint


def test_a_task_that_expired_before_any_attempt_has_a_reason_and_no_class() -> None:
    assert followed(expire(queued(**following("reason:expired")), now=NOW)) is COMPENSATION
    assert followed(expire(queued(**following("*", "partial:likely")), now=NOW)) is None
    ending = expire(queued(), now=NOW).ending
    other = expire(queued(target_url="https://other.example/"), now=NOW).ending
    assert ending is not None and ending.fingerprint
    assert other is not None and other.fingerprint != ending.fingerprint


def test_an_ask_is_not_the_call_that_a_death_tells_of() -> None:
    asking = decided(after(*["server_error"] * 3, policy=policy(), **following("status:500")), answered(500))
    assert followed(decided(again(asking), said("not-done"))) is COMPENSATION
    reconciled = an_attempt(answered(404))
    task = queued(last_attempt=replace(reconciled, kind=AttemptKind.RECONCILE), **following("status:404"))
    assert followed(expire(task, now=NOW)) is None


def test_work_that_turns_out_to_be_done_is_followed_by_what_comes_next() -> None:
    asking = decided(running(policy=policy(), **following()), cut("timeout"))
    assert followed(decided(again(asking), said("done"))) is NEXT


def test_every_failed_attempt_has_a_fingerprint() -> None:
    for outcome in (answered(500), cut("timeout"), cut("local_resource"), cut("worker_lost")):
        attempt = decided(running(), outcome).attempt
        assert attempt is not None and attempt.fingerprint


def test_failures_that_differ_in_their_status_are_not_the_same() -> None:
    prints = [decided(running(), answered(status)).attempt for status in (500, 500, 507)]
    first, again_the_same, other = (attempt.fingerprint for attempt in prints if attempt is not None)
    assert first == again_the_same != other


def test_what_is_no_failure_has_no_fingerprint() -> None:
    for outcome in (answered(200), cut("released", Phase.NONE)):
        attempt = decided(running(), outcome).attempt
        assert attempt is not None and attempt.fingerprint is None
    called_off = cancel(running(), now=NOW).attempt
    assert called_off is not None and called_off.fingerprint is None


def test_a_death_has_the_fingerprint_of_the_failure_that_killed_it() -> None:
    settlement = decided(running(), answered(400))
    assert settlement.attempt is not None
    assert settlement.ending is not None
    assert settlement.ending.fingerprint == settlement.attempt.fingerprint


def test_a_death_of_an_attempt_without_a_fingerprint_has_that_of_its_reason() -> None:
    settlement = decided(running(expires_in=NOW - NOW), cut("released", Phase.NONE))
    assert settlement.state is TaskState.DEAD
    assert settlement.ending is not None
    expired = expire(queued(), now=NOW).ending
    assert expired is not None
    assert settlement.ending.fingerprint == expired.fingerprint
