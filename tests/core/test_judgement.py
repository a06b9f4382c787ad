"""What decided over an attempt, and what its outcome class means, in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.guidance import ADVICE, COMPENSATION, WORK, error_in_words, in_words, retried, waits
from taskqueue.core.lifecycle import cancel
from taskqueue.core.outcome import CLASSES, Compensation, Outcome, Partial
from taskqueue.core.policy import Policy, Rule
from taskqueue.core.verdict import Ruling, Verdict, When, judge
from tests.core.examples import ATTEMPT_ID, NOW, answered, cut, decided, running
from tests.core.test_explain import after_settlement, explained


@pytest.mark.parametrize(
    ("policy", "outcome", "decided_by", "decision"),
    [
        (Policy(), answered(500), "the table of outcome classes", "retried, as long as its 3 retries last"),
        (Policy(), answered(409), "the table of outcome classes", "retried, up to 3 times after this class, as long"),
        (
            Policy(),
            answered(400),
            "the table of outcome classes",
            "it ended (rejected) because another attempt would not have changed the outcome",
        ),
        (Policy(), answered(429), "the table of outcome classes", "retried, until the task expires; it uses up no"),
        (Policy(), cut("worker_lost"), "the table of outcome classes", "its worker was lost, which may happen 3 times"),
        (
            Policy(),
            answered(400, headers=(("taskqueue-control", "retry"),)),
            "the target, by Taskqueue-Control: retry",
            "retried, as long",
        ),
        (
            Policy(preset="never"),
            answered(500),
            "rule 0 of the preset never",
            "it ended (rejected) because the preset never allows no retry",
        ),
        (
            Policy(preset="lambda-async"),
            answered(429),
            "rule 0 of the preset lambda-async",
            "retried, for 6h at most; it uses up no retry",
        ),
        (
            Policy(rules=(Rule(match=("timeout",)), Rule(match=("status:5xx", "conflict"), retries=1))),
            answered(500),
            "rule 1 of retryPolicy (status:5xx, conflict)",
            "retried up to once after what this rule matches",
        ),
        (
            Policy(rules=(Rule(match=("status:500",), retries=4, charge=False),)),
            answered(500),
            "rule 0 of retryPolicy (status:500)",
            "retried up to 4 times after what this rule matches and uses up no retry",
        ),
    ],
)
def test_the_last_outcome_says_what_decided_and_how(
    policy: Policy, outcome: Outcome, decided_by: str, decision: str
) -> None:
    last = explained(after_settlement(decided(running(policy=policy), outcome)))["lastOutcome"]
    assert last is not None
    assert last["decidedBy"] == decided_by
    assert decision in last["decision"]
    assert (last["class"], last["meaning"]) == (outcome.cls.name, outcome.cls.meaning)
    assert last["partialMeaning"] == WORK[outcome.partial]


def test_a_dead_task_does_not_read_as_if_it_went_on() -> None:
    last = explained(after_settlement(decided(running(retries=0), answered(500))))["lastOutcome"]
    assert last is not None
    assert last["decision"] == "it ended (exhausted) because it allows no retry (retries is 0)"
    assert last["attemptId"] == str(ATTEMPT_ID)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ((("retry-after", "7"),), "Retry-After"),
        ((("retry-after", "soon"), ("retry-after-ms", "1500")), "Retry-After-Ms"),
        ((("x-ratelimit-reset", "30"), ("x-ratelimit-remaining", "0")), "X-RateLimit-Reset"),
        ((("x-ratelimit-reset", "30"), ("x-ratelimit-remaining", "9"), ("ratelimit-reset", "30")), "RateLimit-Reset"),
    ],
)
def test_a_wait_that_the_target_named_is_told_by_its_header(headers: tuple[tuple[str, str], ...], name: str) -> None:
    def decider(policy: Policy) -> str:
        outcome = answered(429, headers=headers)
        last = explained(after_settlement(decided(running(policy=policy), outcome)))["lastOutcome"]
        assert last is not None
        return last["decidedBy"]

    assert decider(Policy()) == f"the target, by {name}"
    patient = Policy(rules=(Rule(match=("throttled",)),))
    assert decider(patient) == f"rule 0 of retryPolicy (throttled); over the wait, the target, by {name}"


@pytest.mark.parametrize("headers", [(), (("retry-after", "7"),)])
def test_a_verdict_is_told_by_its_number(headers: tuple[tuple[str, str], ...]) -> None:
    verdicts = (Verdict(when=When(status="200"), outcome=Ruling.DEFER),)
    outcome = judge(answered(200, headers=headers), verdicts)
    last = explained(after_settlement(decided(running(policy=Policy(verdicts=verdicts)), outcome)))["lastOutcome"]
    assert last is not None
    over = "; over the wait, the target, by Retry-After" if headers else ""
    assert last["decidedBy"] == f"verdict 0 of the task{over}"


@pytest.mark.parametrize(
    ("outcome", "decided_by"),
    [
        (answered(500, headers=(("taskqueue-control", "abort"),)), "the target, by Taskqueue-Control: abort"),
        (answered(489), "the target, by its answer"),
        (Outcome(cls=CLASSES["aborted"]), "the target, by its answer"),
    ],
)
def test_a_target_that_aborts_is_told_by_its_word(outcome: Outcome, decided_by: str) -> None:
    last = explained(after_settlement(decided(running(), outcome)))["lastOutcome"]
    assert last is not None
    assert last["decidedBy"] == decided_by


@pytest.mark.parametrize(
    "outcome", [answered(500, headers=(("taskqueue-control", "abort"),)), answered(409), answered(302)]
)
def test_work_that_may_be_done_is_never_said_to_need_no_undoing(outcome: Outcome) -> None:
    last = explained(after_settlement(decided(running(), outcome)))["lastOutcome"]
    assert last is not None
    told = (last["compensation"], last["compensationMeaning"])
    assert told == ("depends", "whether something has to be undone is not known")
    cancelled = explained(after_settlement(cancel(running(), now=NOW)))["lastOutcome"]
    assert cancelled is not None
    assert (cancelled["compensation"], cancelled["compensationMeaning"]) == told


def test_an_event_that_was_handed_over_is_no_work_done() -> None:
    handed = explained(after_settlement(decided(running(target_url="lambda://f?invocation=event"), answered(202))))
    assert "whether the function ran is not known here" in handed["why"]
    assert handed["lastOutcome"] is not None
    assert handed["lastOutcome"]["partialMeaning"] == "handed to Lambda; whether it ran is not known here"


def test_a_task_that_was_cancelled_while_it_waited_does_not_read_as_if_it_went_on() -> None:
    waiting = after_settlement(decided(running(), answered(500)))
    last = explained(after_settlement(cancel(waiting, now=NOW), last_attempt=waiting.last_attempt))["lastOutcome"]
    assert last is not None
    assert last["decision"] == "retried, as long as its 3 retries last; then it was cancelled"


@pytest.mark.parametrize(
    ("type_", "message", "words"),
    [
        ("KeyError", "'x'", "KeyError: 'x'"),
        ("HTTPStatus", "the target answered 500", "the target answered 500"),
        ("KeyError", None, "KeyError"),
        (None, "told", "told"),
        (None, None, None),
        ("Order", "Order: 5", "Order: 5"),
    ],
)
def test_an_error_is_told_with_its_type_where_that_says_more(
    type_: str | None, message: str | None, words: str | None
) -> None:
    assert error_in_words(type_, message) == words


def test_one_retry_is_one_retry() -> None:
    last = explained(after_settlement(decided(running(retries=1), answered(500))))["lastOutcome"]
    assert last is not None
    assert last["decision"] == "retried, as long as its one retry lasts"


def test_there_is_guidance_for_every_class_and_mark() -> None:
    assert set(ADVICE) == set(CLASSES)
    assert all(len(text) <= 110 and text.endswith(".") for text in ADVICE.values())
    assert set(WORK) == set(Partial)
    assert set(COMPENSATION) == set(Compensation)


@pytest.mark.parametrize(
    ("name", "retry", "wait"),
    [
        ("bad_request", "no", ""),
        ("server_error", "yes", "up to 2 s, doubling up to 15 min"),
        ("timeout", "yes, at a risk", "up to 2 s, doubling up to 15 min"),
        ("conflict", "3 times", "up to 30 s, doubling up to 1 h, or as asked"),
        ("function_out_of_memory", "once", "up to 30 s, doubling up to 1 h"),
        ("throttled", "yes, free", "up to 2 s, doubling up to 15 min, or as asked"),
        ("unavailable", "yes, free when it names a wait", "up to 2 s, doubling up to 15 min, or as asked"),
        ("worker_lost", "yes, up to the lost limit", "none"),
    ],
)
def test_a_row_can_be_put_in_words(name: str, retry: str, wait: str) -> None:
    assert (retried(CLASSES[name]), waits(CLASSES[name])) == (retry, wait)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (-5, "0s"),
        (0.25, "250ms"),
        (2.5, "2.5s"),
        (7.021, "7s"),
        (9.99, "10s"),
        (10.4, "10s"),
        (90, "1m30s"),
        (90061, "1d1h1m1s"),
    ],
)
def test_a_span_is_told_as_exactly_as_matters(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("outcome", "by_verdict"),
    [
        (answered(404), True),
        (answered(200, headers=(("x-amz-function-error", "Unhandled"),), body=b'{"errorType": "AlreadyDone"}'), True),
        (answered(200), False),
    ],
)
def test_a_success_that_only_a_verdict_made_is_told_as_such(outcome: Outcome, by_verdict: bool) -> None:
    verdicts = (Verdict(when=When(status="200-499"), outcome=Ruling.SUCCESS),)
    told = explained(after_settlement(decided(running(policy=Policy(verdicts=verdicts)), judge(outcome, verdicts))))
    assert told["lastOutcome"] is not None
    assert (told["lastOutcome"]["decidedBy"] == "a verdict of the task") == by_verdict
    assert (", which a verdict of the task calls a success; the task succeeded" in told["why"]) == by_verdict
