"""Explanations: why a task is where it is, what comes next, and what a person can do, in every state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.core.explain import Explanation, explain
from taskqueue.core.guidance import ADVICE
from taskqueue.core.held_back import HeldBack
from taskqueue.core.lambda_function import EVENT_CAVEAT
from taskqueue.core.lifecycle import cancel, decide, expire
from taskqueue.core.memory import NO_MEMORY
from taskqueue.core.outcome import CLASSES, Outcome, OutcomeClass, Phase
from taskqueue.core.plan import likely_outcome
from taskqueue.core.policy import PRESETS, OnUnknown, Policy, Reconcile
from taskqueue.core.reason import DeadReason
from taskqueue.core.settlement import Settlement
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import (
    Attempt,
    DeadLetterId,
    Ending,
    Progress,
    Task,
    TaskId,
    TaskState,
)
from taskqueue.core.terms import Limits
from taskqueue.core.webhook import settled
from taskqueue.core.why import Standing, begun_at
from tests.core.examples import (
    CAUSE,
    NOW,
    TASK_ID,
    after,
    an_attempt,
    answered,
    cut,
    decided,
    queued,
    running,
    running_webhook,
)
from tests.core.playing import again
from tests.core.test_reconcile import said

SECOND = timedelta(seconds=1)
OTHER = TaskId(UUID(int=9))
LETTER = DeadLetterId(UUID(int=5))
WHOM = Reconcile(url="https://caller.example/done", timeout=5 * SECOND)
ASK = Policy(reconcile=WHOM)


def explained(task: Task, *, now: datetime = NOW, **standing: Any) -> Explanation:
    return explain(task, now=now, limits=Limits(), standing=Standing(**standing))


def test_a_due_task_that_a_limit_holds_back_says_which_and_until_when() -> None:
    full = HeldBack("queueRate", "the queue mail has used up its rate", NOW + 9 * SECOND)
    told = explained(queued(), held_back=(full,))
    assert told["why"] == "It is due, but the queue mail has used up its rate."
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["until"]) == ("queueRate", rfc3339(NOW + 9 * SECOND))


def after_settlement(settlement: Settlement, **over: Any) -> Task:
    """The task as the store would have it next; of an ended one it keeps no memory."""
    task = replace(settled(settlement, now=NOW), started_at=None, worker=None, **over)
    if task.state is TaskState.DEAD:
        task = replace(task, dead_letter_id=LETTER)
    return replace(task, progress=replace(task.progress, memory=NO_MEMORY)) if task.state.ended else task


def kinds(explanation: Explanation) -> list[str]:
    return [blocker["kind"] for blocker in explanation["blockedBy"]]


def action(explanation: Explanation) -> tuple[str, str | None, str | None]:
    following = explanation["next"]
    assert following is not None
    return following["action"], following["earliest"], following["latest"]


def test_a_task_that_was_asked_to_wait_says_until_when() -> None:
    told = explained(queued(not_before=NOW + 90 * SECOND))
    assert told["status"] == "scheduled"
    assert told["why"] == "It was asked to start no earlier than 2026-03-01T12:01:30.000Z, which is in 1m30s."
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["until"]) == ("time", "2026-03-01T12:01:30.000Z")
    assert action(told) == ("attempt", "2026-03-01T12:01:30.000Z", None)
    assert told["advice"] == [f"To start it now, run: taskqueue tasks run-now {TASK_ID}"]
    assert told["lastOutcome"] is None


def test_a_task_that_is_due_waits_for_a_worker() -> None:
    told = explained(queued())
    assert (told["why"], kinds(told)) == ("It is due as soon as a worker is free.", [])
    assert action(told) == ("attempt", "2026-03-01T12:00:00.000Z", None)
    assert told["advice"] == []


def test_a_task_that_no_worker_takes_says_so() -> None:
    told = explained(queued(not_before=NOW - 75 * SECOND))
    assert told["why"] == "It is due as soon as a worker is free; it has been due for 1m15s."
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["since"]) == ("worker", "2026-03-01T11:58:45.000Z")
    assert "see whether workers run" in blocker["detail"]


def test_a_task_behind_another_of_its_ordering_key_names_it() -> None:
    held = queued(held=True, ordering_key="orders", not_before=NOW - 75 * SECOND)
    told = explained(held, lane_head=OTHER)
    assert told["why"] == f"It waits behind task {OTHER} of its ordering key, which has to end first."
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["taskId"]) == ("orderingKey", str(OTHER))
    assert action(told) == ("attempt", None, None)
    assert told["plan"] is not None
    assert told["plan"]["detail"].endswith("; times count from now, although others come first")
    assert "behind an older task" in explained(held)["why"]


def test_a_task_that_is_held_and_early_is_blocked_twice() -> None:
    assert kinds(explained(queued(held=True, not_before=NOW + SECOND))) == ["orderingKey", "time"]


def test_a_task_that_failed_says_how_and_when_it_is_tried_again() -> None:
    told = explained(after_settlement(decided(running(), answered(503))))
    assert told["status"] == "retrying"
    assert told["why"] == (
        "Attempt 1 ended as unavailable (503 or 529); the next one starts at 2026-03-01T12:00:02.000Z, in 2s."
    )
    assert told["plan"] is not None
    assert told["plan"]["supposes"] == "unavailable"
    assert told["plan"]["detail"] == "if all ended as unavailable: 3 attempts, then dead (exhausted)"
    assert [attempt["number"] for attempt in told["plan"]["attempts"]] == [2, 3, 4]
    assert told["plan"]["givesUp"] is not None
    assert told["plan"]["givesUp"]["reason"] == "exhausted"


def test_a_task_whose_time_is_up_is_about_to_die() -> None:
    told = explained(queued(expires_in=-SECOND))
    assert told["why"].startswith("It expired at 2026-03-01T11:59:59.000Z; no attempt starts any more")
    assert action(told)[0] == "expire"
    assert told["plan"] is not None
    assert told["plan"]["attempts"] == []


def test_a_running_task_says_where_and_how_long() -> None:
    told = explained(running(timeout=30 * SECOND), lease_until=NOW + 10 * SECOND)
    assert told["why"] == (
        "Attempt 1 is under way at worker-1, since 2026-03-01T11:59:58.000Z and until 2026-03-01T12:00:28.000Z."
    )
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["worker"]) == ("attempt", "worker-1")
    assert (blocker["since"], blocker["until"]) == ("2026-03-01T11:59:58.000Z", "2026-03-01T12:00:28.000Z")
    assert action(told) == ("outcome", "2026-03-01T12:00:00.000Z", "2026-03-01T12:00:28.000Z")
    assert told["plan"] is not None
    assert "after the one under way" in told["plan"]["detail"]
    assert "at a worker," in explained(running(worker=None))["why"]


def test_a_running_task_whose_worker_is_silent_is_about_to_be_taken_back() -> None:
    told = explained(running(), lease_until=NOW)
    assert "which has not extended its lease in time" in told["why"]
    assert kinds(told) == ["lapsedLease"]
    assert action(told) == ("reclaim", "2026-03-01T12:00:00.000Z", None)
    assert told["plan"] is not None
    assert told["plan"]["attempts"][0]["earliest"] == "2026-03-01T12:00:00.000Z"
    assert len(told["plan"]["attempts"]) == 4  # a lost worker uses up no retry


def test_a_task_that_is_to_ask_whether_its_work_was_done_says_so() -> None:
    asking = decided(running(policy=ASK), cut("timeout"))
    told = explained(after_settlement(asking))
    last = told["lastOutcome"]
    assert told["why"].startswith("The last call ended as timeout, so the work may have been done: before anything")
    assert action(told)[0] == "reconcile"
    under_way = explained(again(asking))
    assert "Attempt 2 asks the reconcile URL" in under_way["why"]
    assert action(under_way)[2] == "2026-03-01T12:00:05.000Z"
    answer = explained(after_settlement(decided(again(asking, last_attempt=asking.attempt), said("not-done"))))
    assert answer["lastOutcome"] == last
    assert answer["why"] == (
        "Attempt 1 ended as timeout (the deadline passed after the request was sent); the next one starts as soon as a"
        " worker is free."
    )
    unanswered = decided(again(asking), cut("connect_refused", Phase.CONNECT))
    assert explained(after_settlement(unanswered))["plan"] is not None


def test_a_task_that_succeeded_says_by_which_answer() -> None:
    told = explained(after_settlement(decided(running(), answered(204))))
    assert (
        told["why"] == "The target answered attempt 1 with status 204; the task succeeded at 2026-03-01T12:00:00.000Z."
    )
    assert (told["next"], told["plan"], told["blockedBy"], told["advice"]) == (None, None, [], [])
    assert told["lastOutcome"] is not None
    assert told["lastOutcome"]["decision"] == "the task succeeded"
    assert told["lastOutcome"]["partialMeaning"] == "the work was done"


def test_a_task_whose_work_turned_out_to_be_done_says_who_said_so() -> None:
    asking = decided(running(policy=ASK), cut("timeout"))
    told = explained(after_settlement(decided(again(asking), said("done"))))
    assert told["why"] == "The reconcile URL said at 2026-03-01T12:00:00.000Z that the work was done."
    assert told["lastOutcome"] is not None
    assert (told["lastOutcome"]["decidedBy"], told["lastOutcome"]["kind"]) == ("reconcile", "reconcile")


def test_a_task_without_its_attempts_still_says_how_it_ended() -> None:
    done = after_settlement(decided(running(), answered(204)))
    assert explained(replace(done, last_attempt=None))["why"] == "It succeeded at 2026-03-01T12:00:00.000Z."
    bare = an_attempt(Outcome(cls=CLASSES["success"]))
    assert explained(replace(done, last_attempt=bare))["why"].startswith("The target answered attempt 1; the task")


@pytest.mark.parametrize(
    ("settlement", "words"),
    [
        (decided(after(*["timeout"] * 3), cut("timeout")), "(exhausted): every attempt that it was allowed failed"),
        (decided(running(), answered(400)), "(rejected): another attempt would not have changed the outcome"),
        (expire(queued(), now=NOW), "(expired): its time was up, before its first attempt."),
        (
            decided(running(progress=Progress(number=4, lost=3)), cut("worker_lost")),
            "(lost): its worker was lost more often",
        ),
    ],
)
def test_a_dead_task_says_why_it_was_given_up(settlement: Settlement, words: str) -> None:
    told = explained(after_settlement(settlement))
    assert words in told["why"]


@pytest.mark.parametrize("reason", DeadReason)
def test_every_death_can_be_told(reason: DeadReason) -> None:
    ending = Ending(state=TaskState.DEAD, finished_at=NOW, reason=reason, cls="of_a_newer_version")
    last = an_attempt(Outcome(cls=OutcomeClass("of_a_newer_version", "a class that this version does not know")))
    told = explained(queued(state=TaskState.DEAD, ending=ending, last_attempt=last, dead_letter_id=LETTER))
    assert f"({reason})" in told["why"]
    assert told["why"].endswith("The last call ended as of_a_newer_version.")
    assert told["lastOutcome"] is not None
    assert "newer version" in told["lastOutcome"]["advice"]
    assert len(told["advice"]) == 1


def test_a_dead_task_says_what_it_died_of() -> None:
    told = explained(after_settlement(decided(running(), answered(400))))
    assert told["why"].endswith(", after one attempt. The last call ended as bad_request: the target answered 400.")
    many = explained(after_settlement(decided(after("timeout", "timeout"), answered(400))))
    assert ", after 3 attempts." in many["why"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (answered(400), "A redrive is safe: the work was not begun in any attempt."),
        (answered(302), "Check before you redrive: some of the work may have been done."),
        (
            Outcome(cls=CLASSES["function_bad_result"], phase=Phase.BODY),
            "Check before you redrive: the work was likely",
        ),
    ],
)
def test_a_dead_task_says_whether_it_is_safe_to_redrive(outcome: Outcome, words: str) -> None:
    told = explained(after_settlement(decided(running(), outcome)))
    assert told["advice"][0] == ADVICE[outcome.cls.name]
    assert told["advice"][1].startswith(words)
    assert told["advice"][1].endswith(f"To redrive it, run: taskqueue dead redrive {LETTER}")
    assert told["next"] is None


def test_the_work_of_an_earlier_attempt_counts_for_a_redrive() -> None:
    first = decided(running(), cut("timeout"))
    told = explained(after_settlement(decided(again(first), answered(400))))
    assert "likely done" in told["advice"][1]


def test_a_dead_task_whose_letter_is_gone_cannot_be_redriven() -> None:
    task = replace(after_settlement(decided(running(), answered(400))), dead_letter_id=None)
    assert explained(task)["advice"][-1].startswith("It cannot be redriven")


def test_a_dead_task_that_was_compensated_names_the_compensation() -> None:
    told = explained(after_settlement(decided(running(), answered(400))), compensation_id=OTHER)
    assert f"Task {OTHER} was submitted to compensate" in told["advice"][-1]
    assert "needs --force" in told["advice"][-1]


def test_a_cancelled_task_says_when_and_whether_to_look() -> None:
    waiting = explained(after_settlement(cancel(queued(), now=NOW)))
    assert waiting["why"] == "It was cancelled at 2026-03-01T12:00:00.000Z, before its first attempt."
    assert waiting["advice"] == []
    cut_short = explained(after_settlement(cancel(running(), now=NOW)))
    assert cut_short["advice"] == [ADVICE["cancelled"]]
    assert cut_short["lastOutcome"] is not None
    assert cut_short["lastOutcome"]["decidedBy"] == "whoever cancelled it"


def test_a_plan_that_is_cut_says_until_when_it_goes_on() -> None:
    task = after_settlement(decided(running(), answered(429)))
    told = explained(task)
    assert told["plan"] is not None
    assert told["plan"]["detail"].endswith(f"500 attempts and so on, until {told['expiresAt']}")


def test_a_webhook_says_what_it_tells_of() -> None:
    told = explained(after_settlement(decided(running_webhook(), answered(500))))
    assert told["caveats"][0].startswith(f"This is a webhook: it tells of task {CAUSE.task_id}")
    assert told["lastOutcome"] is not None
    assert told["lastOutcome"]["decidedBy"] == "the schedule of webhooks"


def test_an_event_for_a_function_comes_with_its_caveat() -> None:
    assert explained(queued(target_url="lambda://resize?invocation=event"))["caveats"] == [EVENT_CAVEAT]
    assert explained(queued(target_url="lambda://resize"))["caveats"] == []
    assert explained(queued(target_url="https://x.example/?invocation=event"))["caveats"] == []


living = st.sampled_from(
    [
        running(policy=Policy(preset=preset), retries=retries, expires_in=expires_in)
        for preset in PRESETS
        for retries in (0, 2)
        for expires_in in (20 * SECOND, 120 * SECOND)
    ]
    + [running(policy=replace(ASK, poison_after=2)), running_webhook()]
    + [running(policy=Policy(reconcile=replace(WHOM, on_unknown=OnUnknown.HOLD)))]
)

OUTCOMES = [answered(500), answered(400), answered(429), answered(504), cut("timeout"), cut("worker_lost")]


@settings(deadline=None, max_examples=60)
@given(
    task=living,
    outcomes=st.lists(
        st.sampled_from(
            [answered(500), answered(400), answered(429), answered(504), cut("timeout"), cut("worker_lost")]
        ),
        max_size=4,
    ),
    jitter=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_an_explanation_never_contradicts_what_happens(
    task: Task, outcomes: list[Outcome], jitter: float, share: float
) -> None:
    """A task is explained at some point of its life; then its attempt ends as supposed, after any time it may take."""
    attempts = list[Attempt]()
    for outcome in outcomes:
        settlement = decided(task, outcome, jitter=jitter)
        assert settlement.attempt is not None
        attempts.append(settlement.attempt)
        if settlement.wait is None:
            told = explained(after_settlement(settlement), attempts=attempts)
            assert "every attempt that it was allowed failed" not in told["why"], "the limit is named"
            assert ("(poison): 2 identical" in told["why"]) is ("(poison)" in told["why"])
            assert (told["next"], told["plan"]) == (None, None)
            assert settlement.ending is not None and str(settlement.ending.reason) in told["why"]
            return
        told = explained(after_settlement(settlement))
        assert told["next"] is not None
        asks = settlement.progress.memory.asking is not None
        assert told["next"]["action"] == ("reconcile" if asks else "attempt")
        assert told["next"]["earliest"] == rfc3339(NOW + settlement.wait)
        task = replace(again(settlement), last_attempt=settlement.attempt)
    told = explained(task)
    assert told["plan"] is not None and told["next"] is not None and told["next"]["latest"] is not None
    asks = task.progress.memory.asking is not None
    longest = 5 * SECOND if asks else task.spec.timeout
    ends_at = max(NOW, begun_at(task) + share * longest)
    assert told["next"]["earliest"] is not None
    assert told["next"]["earliest"] <= rfc3339(ends_at) <= told["next"]["latest"]
    supposed = said("not-done") if asks else likely_outcome(task)
    real = decide(task, supposed, now=ends_at, jitter=jitter, limits=Limits())
    attempts = told["plan"]["attempts"]
    if real.wait is None:
        assert not attempts or attempts[0]["latest"] is None
    else:
        starts, latest = rfc3339(ends_at + real.wait), attempts[0]["latest"]
        assert attempts[0]["earliest"] <= starts
        assert latest is None or starts <= latest
