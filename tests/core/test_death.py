"""What ended a dead task: whichever limit, rule or time it was, the explanation names it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.core.explain import Explanation
from taskqueue.core.lifecycle import decide, expire
from taskqueue.core.outcome import Outcome, Phase, Response
from taskqueue.core.policy import OnLost, OnUnknown, Policy, Reconcile, Rule
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Attempt, DeadLetterId, Task
from taskqueue.core.terms import Limits
from taskqueue.core.verdict import Ruling, Verdict, When, judge
from taskqueue.core.webhook import settled
from tests.core.examples import NOW, answered, cut, queued, running, running_webhook
from tests.core.playing import again
from tests.core.test_explain import OTHER, after_settlement, explained
from tests.core.test_reconcile import said

MINUTE = timedelta(minutes=1)
HELD = Reconcile(url="https://caller.example/done", timeout=MINUTE, on_unknown=OnUnknown.HOLD)
FAILED = replace(HELD, on_unknown=OnUnknown.FAIL)


def lived(task: Task, *outcomes: Outcome) -> tuple[Settlement, list[Attempt]]:
    """The last settlement of a task whose attempts end so, as soon as they begin, and all its attempts."""
    now, attempts, settlement = NOW, list[Attempt](), None
    for outcome in outcomes:
        settlement = decide(task, outcome, now=now, jitter=1.0, limits=Limits())
        assert settlement.attempt is not None
        attempts.append(settlement.attempt)
        if settlement.wait is not None:
            now += settlement.wait
            task = again(settlement, started_at=now, last_attempt=settled(settlement, now=now).last_attempt)
    assert settlement is not None
    return settlement, attempts


def told(task: Task, *outcomes: Outcome, **over: Any) -> Explanation:
    settlement, attempts = lived(task, *outcomes)
    return explained(after_settlement(settlement, **over), attempts=attempts)


def clause(explanation: Explanation) -> str:
    """What the decision gives as its cause; the headline gives the same."""
    assert explanation["lastOutcome"] is not None
    _, _, because = explanation["lastOutcome"]["decision"].partition(" because ")
    assert because and f": {because}, after " in explanation["why"]
    return because


@pytest.mark.parametrize(
    ("policy", "outcomes", "because"),
    [
        (Policy(on_lost=OnLost.DEAD), [cut("worker_lost")], "onLost is dead and its worker was lost"),
        (Policy(), [cut("worker_lost")] * 4, "its worker was lost more often than it may: the limit is 3 times"),
        (Policy(poison_after=2), [answered(500)] * 2, "2 identical failures came in a row (poisonAfter is 2)"),
        (Policy(), [answered(500)] * 4, "its 3 retries are used up"),
        (Policy(), [answered(500, headers=(("x-amz-function-error", "x"),))] * 4, "its 3 retries are used up"),
        (Policy(), [answered(400)], "another attempt would not have changed the outcome"),
        (Policy(), [answered(489)], "the target said not to try again"),
        (Policy(preset="never"), [answered(500)], "the preset never allows no retry"),
        (
            Policy(rules=(Rule(match=("errorType:TestFailure",), retries=0),)),
            [cut("timeout")],
            "your rule 0 of retryPolicy (errorType:TestFailure) allows no retry",
        ),
        (
            Policy(rules=(Rule(match=("timeout",), retries=1),)),
            [cut("timeout")] * 2,
            "its rule 0 of retryPolicy (timeout) allows 1 retry",
        ),
        (
            Policy(rules=(Rule(match=("a_b", "c", "d", "timeout"), retries=2),)),
            [cut("timeout")] * 3,
            "its rule 0 of retryPolicy (a_b, c, d, …) allows 2 retries",
        ),
        (
            Policy(rules=(Rule(match=("timeout",), within=timedelta(seconds=3)),)),
            [cut("timeout")] * 2,
            "the `within` of its rule 0 of retryPolicy (timeout), 3s, would have run out first",
        ),
    ],
)
def test_the_cause_of_a_death_is_named(policy: Policy, outcomes: list[Outcome], because: str) -> None:
    assert clause(told(running(policy=policy), *outcomes)) == because


@pytest.mark.parametrize(
    ("retries", "because"),
    [
        (0, "it allows no retry (retries is 0)"),
        (1, "its one retry is used up"),
        (9, "conflict is retried 3 times at most"),
    ],
)
def test_the_budget_that_was_used_up_is_named(retries: int, because: str) -> None:
    assert clause(told(running(retries=retries), *[answered(409)] * (min(retries, 3) + 1))) == because


def test_an_expiry_that_left_no_time_for_the_next_attempt_is_named() -> None:
    assert clause(told(running(expires_in=timedelta(seconds=1)), answered(500))) == "it would have expired first"
    settlement, attempts = lived(running(), answered(500))
    waiting = after_settlement(settlement)
    dead = after_settlement(expire(waiting, now=waiting.expires_at))
    found = explained(replace(dead, last_attempt=attempts[0]), attempts=attempts)
    assert clause(found) == "its time was up before the next attempt"


def test_a_follow_up_that_came_too_late_says_so() -> None:
    late = queued(expires_in=-10 * MINUTE, parent_id=OTHER, root_id=OTHER)
    told_of = explained(after_settlement(expire(late, now=NOW)))
    assert told_of["why"] == (
        "It died at 2026-03-01T12:00:00.000Z (expired): its expiresAt, 2026-03-01T11:50:00.000Z, had passed when the"
        " task ended that it follows, before its first attempt."
    )


def test_a_webhook_dies_when_its_schedule_ends() -> None:
    assert clause(told(running_webhook(expires_in=timedelta(days=30)), *[answered(500)] * 11)).startswith(
        "the schedule of webhooks"
    )


def test_a_verdict_that_called_it_a_failure_is_named() -> None:
    verdicts = (Verdict(when=When(json_path="$.ok", equals=False), outcome=Ruling.FAIL),)
    outcome = judge(answered(200, body=b'{"ok": false}'), verdicts)
    found = told(running(policy=Policy(verdicts=verdicts)), outcome)
    assert clause(found) == "a verdict of the task calls this a failure for good"
    assert found["lastOutcome"] is not None
    assert found["lastOutcome"]["decidedBy"] == "verdict 0 of the task"


@pytest.mark.parametrize(
    ("whom", "reason", "answers", "words"),
    [
        (FAILED, "rejected", [cut("no_response")] * 5, "asked 5 times whether the work was done, last answer: no_resp"),
        (HELD, "uncertain", [said("unknown")], "asked once whether the work was done, last answer: unknown"),
        (HELD, "uncertain", [answered(200)] * 5, "last answer: unusable"),
    ],
)
def test_a_death_that_nobody_could_answer_for_says_who_was_asked(
    whom: Reconcile, reason: str, answers: list[Outcome], words: str
) -> None:
    found = told(running(policy=Policy(reconcile=whom)), cut("timeout"), *answers)
    assert clause(found) == f"nobody could say whether the work was done, and onUnknown is {whom.on_unknown}"
    assert f"({reason})" in found["why"]
    assert found["lastOutcome"] is not None
    assert found["lastOutcome"]["decidedBy"] == "reconcile, by onUnknown"
    assert found["asked"] is not None
    assert found["asked"]["detail"].startswith(f"{whom.url} was asked ")
    assert words in found["asked"]["detail"]
    assert found["asked"]["detail"].endswith(f"; onUnknown is {whom.on_unknown}")


def test_work_that_was_not_done_dies_of_what_was_decided_before() -> None:
    found = told(running(retries=0, policy=Policy(reconcile=HELD)), cut("timeout"), said("not-done"))
    assert clause(found) == "it allows no retry (retries is 0)"
    assert found["asked"] is not None and found["asked"]["lastAnswer"] == "not-done"


def test_a_task_that_expires_before_it_could_ask_says_so() -> None:
    found = told(running(expires_in=timedelta(seconds=1), policy=Policy(reconcile=HELD)), cut("timeout"))
    assert clause(found) == "there was no time left to ask whether the work was done, and onUnknown is hold"


def test_a_task_that_asks_again_says_what_came_so_far() -> None:
    waiting = told(running(policy=Policy(reconcile=FAILED)), cut("timeout"), *[cut("no_response")] * 2)
    assert "the reconcile URL is asked again (so far 2 times, last answer: no_response), at" in waiting["why"]
    assert waiting["next"] is not None and FAILED.url in waiting["next"]["detail"]
    done = told(running(policy=Policy(reconcile=FAILED)), cut("timeout"), said("done"))
    assert done["asked"] is not None and done["asked"]["lastAnswer"] == "done"


def test_whom_a_newer_version_asks_is_not_known() -> None:
    settlement, attempts = lived(running(policy=Policy(reconcile=FAILED)), cut("timeout"), cut("no_response"))
    task = after_settlement(settlement)
    found = explained(replace(task, spec=replace(task.spec, policy=Policy())), attempts=attempts)
    assert found["asked"] is None
    assert (
        found["next"] is not None and found["next"]["detail"] == "the reconcile URL is asked whether the work was done"
    )


def test_a_death_whose_attempts_are_not_all_kept_names_no_limit() -> None:
    settlement, attempts = lived(running(), *[answered(500)] * 4)
    found = explained(after_settlement(settlement), attempts=attempts[2:])
    assert clause(found) == "every attempt that it was allowed failed"
    gone = after_settlement(settlement, dead_letter_id=DeadLetterId(queued().id))
    assert "every attempt that it was allowed failed" in explained(replace(gone, last_attempt=None))["why"]


def test_what_a_missing_configuration_leads_to_is_told_by_its_message() -> None:
    ours = replace(cut("local_resource", Phase.NONE), error_type="NotConfigured", error_message="no credentials")
    waiting = told(running(), ours)
    assert "ended as local_resource (no credentials);" in waiting["why"]
    assert waiting["lastOutcome"] is not None
    assert waiting["lastOutcome"]["advice"].startswith("Give the workers what the message names")
    dead = told(running(expires_in=timedelta(seconds=1)), ours)
    assert dead["advice"][0] == waiting["lastOutcome"]["advice"]
    assert told(running(), replace(ours, error_message=None))["lastOutcome"]["meaning"].startswith("our own")  # type: ignore[index]


def test_a_death_tells_the_type_of_its_error() -> None:
    error = Outcome(cls=answered(400).cls, response=Response(status=400), error_type="KeyError", error_message="'x'")
    found = told(running(), error)
    assert found["why"].endswith("The last call ended as bad_request: KeyError: 'x'.")


def test_a_call_that_is_asked_about_says_why_it_is_not_retried() -> None:
    waiting = told(running(policy=Policy(reconcile=HELD)), answered(302))
    assert waiting["lastOutcome"] is not None
    assert waiting["lastOutcome"]["decision"] == "not retried: another attempt would not have changed the outcome"
