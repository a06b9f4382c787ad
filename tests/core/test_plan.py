"""Plans: the attempts that would follow, when, and until when; they come from the decisions themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.core.answer import class_of_status
from taskqueue.core.forecast import in_instants, in_seconds, in_words
from taskqueue.core.lifecycle import decide
from taskqueue.core.memory import Memory
from taskqueue.core.outcome import CLASSES, Outcome, Phase
from taskqueue.core.plan import (
    MAX_STEPS,
    STATUSES,
    Plan,
    course,
    likely_outcome,
    plan,
    supposed_outcome,
    unsubmitted,
    worst_case,
)
from taskqueue.core.policy import PRESETS, OnLost, OnUnknown, Policy, Reconcile, Rule
from taskqueue.core.reason import DeadReason
from taskqueue.core.reconcile import Answer
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import AttemptKind, Progress, Task, TaskState
from taskqueue.core.terms import Limits
from tests.core.examples import NOW, a_spec, after, an_attempt, answered, cut, decided, queued, running
from tests.core.playing import again

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
ASK = Reconcile(url="https://caller.example/done", timeout=5 * SECOND)
OF_LAMBDA = {"service_error", "function_config", "function_not_ready"}


def planned(task: Task, *names: str, slow: bool = False) -> Plan:
    return plan(task, [supposed_outcome(name) for name in names], now=NOW, limits=Limits(), slow=slow)


def seconds(instant: datetime | None) -> float | None:
    return (instant - NOW).total_seconds() if instant is not None else None


def windows(made: Plan) -> list[tuple[float | None, ...]]:
    """Earliest, expected and latest start of each attempt, in seconds from now."""
    found = (attempt.window for attempt in made.attempts)
    return [(seconds(each.earliest), seconds(each.expected), seconds(each.latest)) for each in found]


def fresh(**over: object) -> Task:
    return unsubmitted(a_spec(**over), expires_in=7 * DAY, now=NOW)


def test_a_plan_shows_every_attempt_with_the_shortest_the_middling_and_the_longest_waits() -> None:
    made = planned(fresh(), "server_error")
    assert windows(made) == [(0, 0, 0), (0, 1, 2), (0, 3, 6), (0, 7, 14)]
    assert [attempt.number for attempt in made.attempts] == [1, 2, 3, 4]
    assert {attempt.outcome for attempt in made.attempts} == {"server_error"}
    assert all(attempt.charged for attempt in made.attempts)
    assert (made.state, made.reason) == (TaskState.DEAD, DeadReason.EXHAUSTED)
    assert made.ends is not None
    assert [seconds(each) for each in (made.ends.earliest, made.ends.expected, made.ends.latest)] == [0, 7, 14]


def test_the_lambda_preset_is_planned_at_0_60_and_180_seconds() -> None:
    made = planned(fresh(policy=Policy(preset="lambda-async")), "function_error")
    assert windows(made) == [(0, 0, 0), (60, 60, 60), (180, 180, 180)]


def test_slow_attempts_put_off_the_latest_times_alone() -> None:
    made = planned(fresh(timeout=30 * SECOND, retries=2), "server_error", slow=True)
    assert windows(made) == [(0, 0, 0), (0, 1, 32), (0, 3, 66)]
    assert made.ends is not None
    assert seconds(made.ends.latest) == 96


def test_outcomes_are_played_in_order_and_the_last_goes_on() -> None:
    made = planned(fresh(), "throttled", "timeout", "bad_request")
    assert [attempt.outcome for attempt in made.attempts] == ["throttled", "timeout", "bad_request"]
    assert [attempt.charged for attempt in made.attempts] == [False, True, True]
    assert made.reason is DeadReason.REJECTED


def test_a_plan_may_end_well() -> None:
    made = planned(fresh(), "timeout", "success")
    assert (len(made.attempts), made.state, made.reason) == (2, TaskState.SUCCEEDED, None)


@pytest.mark.parametrize("name", ["throttled", "released"])
def test_a_plan_that_goes_on_and_on_is_cut(name: str) -> None:
    made = planned(fresh(), name)
    assert len(made.attempts) == MAX_STEPS
    assert (made.state, made.ends) == (None, None)


def test_an_attempt_that_longer_waits_leave_no_time_for_is_not_certain() -> None:
    task = fresh(retries=20, backoff=Backoff(type=BackoffType.FIXED, initial=10 * SECOND))
    made = planned(replace(task, expires_at=NOW + 25 * SECOND), "server_error")
    assert windows(made)[:6] == [(0, 0, 0), (0, 5, 10), (0, 10, 20), (0, 15, None), (0, 20, None), (0, None, None)]


def test_a_waiting_task_is_planned_from_its_next_attempt_on() -> None:
    waiting = decided(running(), answered(500))
    task = queued(progress=waiting.progress, not_before=NOW + 9 * SECOND)
    made = planned(task, "server_error")
    assert windows(made) == [(9, 9, 9), (9, 11, 13), (9, 15, 21)]
    assert [attempt.number for attempt in made.attempts] == [2, 3, 4]


def test_the_attempt_that_is_under_way_is_no_part_of_what_is_to_come() -> None:
    made = planned(running(timeout=30 * SECOND), "server_error", slow=True)
    assert [attempt.number for attempt in made.attempts] == [2, 3, 4]
    assert windows(made)[0] == (0, 1, 30)  # it began two seconds ago, has 28 left, and waits up to 2


def test_a_task_on_its_last_attempt_has_none_to_come() -> None:
    made = planned(after(*["server_error"] * 3), "server_error")
    assert (made.attempts, made.reason) == ((), DeadReason.EXHAUSTED)


def test_a_task_that_has_expired_has_none_to_come() -> None:
    for expires_in in (timedelta(0), -HOUR):
        made = planned(queued(expires_in=expires_in), "server_error")
        assert (made.attempts, made.state, made.reason) == ((), TaskState.DEAD, DeadReason.EXPIRED)
        assert made.ends is not None
        assert made.ends.earliest == NOW


def test_who_is_asked_whether_work_was_done_is_supposed_to_say_no() -> None:
    made = planned(fresh(policy=Policy(reconcile=ASK), retries=1), "timeout", slow=True)
    kinds = [(attempt.kind, attempt.outcome, attempt.charged) for attempt in made.attempts]
    call, ask = (AttemptKind.CALL, "timeout", True), (AttemptKind.RECONCILE, "not-done", False)
    assert kinds == [call, ask, call, ask]
    assert windows(made) == [(0, 0, 0), (0, 1, 32), (0, 1, 37), (0, 3, 71)]


def test_a_task_that_is_to_ask_or_is_asking_is_planned_from_there_on() -> None:
    asking = decided(running(policy=Policy(reconcile=ASK)), cut("timeout"))
    task = queued(progress=asking.progress, policy=Policy(reconcile=ASK))
    kinds = [attempt.kind.value for attempt in planned(task, "timeout").attempts]
    assert kinds == ["reconcile", "call", "reconcile", "call", "reconcile", "call", "reconcile"]
    under_way = again(asking)
    assert planned(under_way, "timeout").attempts[0].kind is AttemptKind.CALL


def test_the_worst_case_counts_waits_and_timeouts() -> None:
    def worst(task: Task, name: str) -> float:
        return worst_case(task, [supposed_outcome(name)], now=NOW, limits=Limits()).total_seconds()

    assert worst(fresh(timeout=30 * SECOND), "server_error") == 4 * 30 + 14
    assert worst(fresh(policy=Policy(preset="lambda-async"), timeout=HOUR), "timeout") == 3 * 3600 + 180
    assert worst(fresh(timeout=30 * SECOND), "bad_request") == 30
    endless = fresh(timeout=30 * SECOND)
    assert worst(endless, "throttled") == 7 * 86_400 + 30
    assert worst(replace(endless, expires_at=NOW + SECOND), "throttled") == 31


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_what_is_supposed_of_an_answer_is_read_as_its_class(name: str) -> None:
    outcome = supposed_outcome(name)
    assert outcome.response is not None
    if not name.startswith(("function_", "verdict_", "truncated")) and name not in OF_LAMBDA:
        assert class_of_status(outcome.response.status).name == name


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_what_is_supposed_is_of_its_class_and_leaves_as_much_work_behind(name: str) -> None:
    outcome = supposed_outcome(name)
    assert outcome.cls is CLASSES[name]
    assert outcome.partial is CLASSES[name].partial


def test_an_answer_may_be_supposed_to_ask_for_a_wait() -> None:
    patient = supposed_outcome("unavailable", retry_after=1.5 * SECOND)
    settlement = decided(running(), patient, jitter=0.0)
    assert (settlement.progress.deferred, settlement.wait) == (1, 1.5 * SECOND)
    assert decided(running(), supposed_outcome("unavailable")).progress.charged == 1


def test_a_task_that_never_failed_is_supposed_to_fail_with_a_server_error() -> None:
    assert likely_outcome(queued()).cls.name == "server_error"
    for name in ("released", "local_resource"):
        last = an_attempt(cut(name, Phase.NONE))
        memory = Memory(previous=name)
        assert likely_outcome(queued(last_attempt=last, progress=Progress(memory=memory))).cls.name == "server_error"
    unknown = Progress(memory=Memory(previous="of_a_newer_version"))
    assert likely_outcome(queued(progress=unknown)).cls.name == "server_error"


def test_a_task_is_supposed_to_fail_as_it_did_last() -> None:
    last = an_attempt(replace(answered(409), error_type="AccountLocked"))
    again = likely_outcome(queued(last_attempt=last))
    assert (again.cls.name, again.error_type) == ("conflict", "AccountLocked")
    assert again.response is not None
    assert again.response.status == 409
    assert likely_outcome(queued(last_attempt=an_attempt(cut("timeout")))).cls.name == "timeout"


def test_after_an_ask_the_call_before_it_is_what_may_come_again() -> None:
    last = replace(an_attempt(answered(200)), kind=AttemptKind.RECONCILE)
    task = queued(last_attempt=last, progress=Progress(memory=Memory(previous="timeout")))
    assert likely_outcome(task).cls.name == "timeout"


def test_a_wait_that_was_asked_for_once_is_asked_for_again_and_as_long() -> None:
    until = (NOW + 90 * SECOND).strftime("%a, %d %b %Y %H:%M:%S GMT")
    last = an_attempt(answered(429, headers=(("retry-after", until),)))
    outcome = likely_outcome(queued(last_attempt=last))
    assert decide(running(), outcome, now=NOW + HOUR, jitter=0.0, limits=Limits()).wait == 90 * SECOND
    silent = likely_outcome(queued(last_attempt=an_attempt(answered(429, headers=(("x", "y"),)))))
    assert silent.response is not None
    assert silent.response.headers == ()


def test_a_target_that_asked_for_a_retry_is_supposed_to_ask_again() -> None:
    told = answered(400, headers=(("taskqueue-control", "retry"),))
    recorded = replace(told, forced_retry=False)  # no column holds it: the headers do
    assert likely_outcome(queued(last_attempt=an_attempt(recorded))).forced_retry


OWN = Backoff(type=BackoffType.LINEAR, initial=3 * SECOND, jitter=Jitter.EQUAL)
DEFERRED = Rule(match=("conflict", "server_error"), charge=False, within=40 * SECOND)
POLICIES = (
    *(Policy(preset=name) for name in PRESETS),
    Policy(rules=(DEFERRED, Rule(match=("*",), retries=2, backoff=OWN))),
    Policy(reconcile=replace(ASK, on_unknown=OnUnknown.HOLD), on_lost=OnLost.DEAD, poison_after=2),
)
tasks = st.builds(
    queued,
    policy=st.sampled_from(POLICIES),
    retries=st.integers(0, 4),
    backoff=st.none() | st.just(OWN),
    timeout=st.sampled_from((5 * SECOND, 30 * SECOND)),
    expires_in=st.sampled_from((45 * SECOND, 120 * SECOND)),
)


@settings(deadline=None, max_examples=60)
@given(
    task=tasks,
    names=st.lists(st.sampled_from(sorted(CLASSES.keys() - {"success", "cancelled"})), min_size=1, max_size=4),
    jitters=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    durations=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_what_happens_is_what_was_planned(
    task: Task, names: list[str], jitters: list[float], durations: list[float]
) -> None:
    """At every attempt of a task's life the plan is asked, then chance decides, and the next attempt was foreseen."""
    now = NOW
    for name, jitter, share in zip(names, jitters, durations, strict=False):
        outcome = supposed_outcome(name)
        asks = task.progress.memory.asking is not None
        task = _claimed(task, now)
        foreseen = plan(task, [outcome], now=now, limits=Limits(), slow=True)
        if asks:
            outcome = Outcome(cls=CLASSES["success"], response=answered(200, body=b'{"state":"not-done"}').response)
        longest = ASK.timeout if asks else task.spec.timeout
        ended_at = now + longest * share
        settlement = decide(task, outcome, now=ended_at, jitter=jitter, limits=Limits())
        if settlement.wait is None:
            assert settlement.ending is not None
            assert not foreseen.attempts or foreseen.attempts[0].window.latest is None
            return
        following, starts = foreseen.attempts[0], ended_at + settlement.wait
        assert following.number == task.progress.number + 1
        assert (following.kind is AttemptKind.RECONCILE) == (settlement.progress.memory.asking is not None)
        assert following.window.earliest <= starts
        assert following.window.latest is None or starts <= following.window.latest
        now = starts
        task = replace(task, state=TaskState.QUEUED, progress=settlement.progress, not_before=starts, lease=None)


def _claimed(task: Task, at: datetime) -> Task:
    progress = replace(task.progress, number=task.progress.number + 1)
    return replace(running(), spec=task.spec, expires_at=task.expires_at, progress=progress, started_at=at)


def test_a_course_can_be_followed_by_itself() -> None:
    followed = course(fresh(), [supposed_outcome("timeout")], now=NOW, jitter=1.0, limits=Limits())
    assert [seconds(step.at) for step in followed.steps] == [0, 2, 6, 14]
    assert followed.ending is not None
    assert followed.ending.worst_partial.label == "likely"


def test_a_plan_can_be_shown_in_seconds_from_its_start() -> None:
    shown = in_seconds(planned(fresh(retries=1), "server_error"), NOW)
    kind = {"kind": "call", "outcome": "server_error", "charged": True}
    assert shown["attempts"] == [
        {"number": 1, **kind, "earliest": 0.0, "expected": 0.0, "latest": 0.0},
        {"number": 2, **kind, "earliest": 0.0, "expected": 1.0, "latest": 2.0},
    ]
    assert shown["complete"]
    assert shown["givesUp"] == {"reason": "exhausted", "earliest": 0.0, "expected": 1.0, "latest": 2.0}


def test_a_plan_that_ends_well_gives_up_nothing() -> None:
    shown = in_instants(planned(fresh(), "success"))
    assert (shown["complete"], shown["givesUp"]) == (True, None)
    assert shown["attempts"][0]["earliest"] == "2026-03-01T12:00:00.000Z"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (planned(fresh(), "server_error"), "4 attempts, then dead (exhausted)"),
        (planned(fresh(), "bad_request"), "one attempt, then dead (rejected)"),
        (planned(queued(expires_in=-SECOND), "timeout"), "no attempt, then dead (expired)"),
        (planned(fresh(), "timeout", "success"), "2 attempts, then success"),
        (planned(fresh(), "throttled"), "500 attempts and so on, until it expires"),
    ],
)
def test_a_plan_can_be_put_in_words(made: Plan, words: str) -> None:
    assert in_words(made) == words


@pytest.mark.parametrize(
    ("answer", "on_unknown", "outcomes", "ending"),
    [
        (Answer.DONE, OnUnknown.HOLD, ["timeout", "done"], ("succeeded", None)),
        (Answer.NOT_DONE, OnUnknown.HOLD, ["timeout", "not-done", "timeout", "not-done"], ("dead", "exhausted")),
        (Answer.UNKNOWN, OnUnknown.HOLD, ["timeout", "unknown"], ("dead", "uncertain")),
        (Answer.UNKNOWN, OnUnknown.RETRY, ["timeout", "unknown", "timeout", "unknown"], ("dead", "exhausted")),
        (None, OnUnknown.FAIL, ["timeout", *["connect_refused"] * 5], ("dead", "rejected")),
    ],
)
def test_what_the_asked_would_answer_can_be_supposed(
    answer: Answer | None, on_unknown: OnUnknown, outcomes: list[str], ending: tuple[str, str | None]
) -> None:
    whom = Reconcile(url="https://caller.example/done", timeout=timedelta(seconds=10), on_unknown=on_unknown)
    task = fresh(retries=1, policy=Policy(reconcile=whom))
    found = plan(task, [supposed_outcome("timeout")], now=NOW, limits=Limits(), slow=False, answer=answer)
    assert [attempt.outcome for attempt in found.attempts] == outcomes
    assert (found.state, found.reason) == ending


def test_the_worst_case_counts_the_askings() -> None:
    whom = Reconcile(url="https://caller.example/done", timeout=timedelta(seconds=10), on_unknown=OnUnknown.HOLD)
    task = fresh(policy=Policy(reconcile=whom))
    longest = worst_case(task, [supposed_outcome("timeout")], now=NOW, limits=Limits(), answer=None)
    assert longest.total_seconds() == 30 + 2 + 5 * 10 + (2 + 4 + 8 + 16)
