"""What decided over an attempt, and what its outcome class means, in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.guidance import ADVICE, COMPENSATION, WORK, in_words, retried, waits
from taskqueue.core.outcome import CLASSES, Compensation, Outcome, Partial
from taskqueue.core.policy import Policy, Rule
from tests.core.examples import ATTEMPT_ID, answered, cut, decided, running
from tests.core.test_explain import after_settlement, explained


@pytest.mark.parametrize(
    ("policy", "outcome", "decided_by", "decision"),
    [
        (Policy(), answered(500), "the table of outcome classes", "retried, as long as its 3 retries last"),
        (Policy(), answered(409), "the table of outcome classes", "retried, up to 3 times after this class, as long"),
        (Policy(), answered(400), "the table of outcome classes", "not retried: another attempt would not change it"),
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
            "rule 0 of the preset never (*, worker_lost, interrupted)",
            "not retried: another",
        ),
        (
            Policy(preset="lambda-async"),
            answered(429),
            "rule 0 of the preset lambda-async (throttled, service_error)",
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
    assert last["decision"] == "retried, as long as its 0 retries last; then it died (exhausted)"
    assert last["attemptId"] == str(ATTEMPT_ID)
    refused = explained(after_settlement(decided(running(), answered(400))))["lastOutcome"]
    assert refused is not None
    assert "died" not in refused["decision"]


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
    [(0, "0s"), (-5, "0s"), (0.25, "250ms"), (2.5, "2s500ms"), (10.4, "10s"), (90, "1m30s"), (90061, "1d1h1m1s")],
)
def test_a_span_is_told_as_exactly_as_matters(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words
