"""Asking whether work was done: when, how often, and where each answer leads."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core import reconcile
from taskqueue.core.lifecycle import cancel, expire
from taskqueue.core.outcome import CLASSES, Outcome, Partial, Phase
from taskqueue.core.policy import OnLost, OnUnknown, Policy, Reconcile
from taskqueue.core.reason import DeadReason
from taskqueue.core.reconcile import Answer
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import AttemptKind, Task, TaskState, WebhookEvent
from tests.core.examples import HOOKED, NOW, after, answered, cut, decided, queued, running, running_webhook
from tests.core.playing import again

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
RA = (("retry-after", "120"),)
RESULT = {"id": 7}


def policy(on_unknown: OnUnknown = OnUnknown.RETRY, **over: object) -> Policy:
    asked = Reconcile(url="https://caller.example/done", timeout=10 * SECOND, on_unknown=on_unknown)
    return Policy(reconcile=asked, **over)  # type: ignore[arg-type]


def uncertain(task: Task | None = None, outcome: Outcome | None = None, **over: object) -> Settlement:
    """A task that has just had an outcome which may have done the work."""
    return decided(task or running(policy=policy(), **over), outcome or cut("timeout"))


def said(state: str, **more: object) -> Outcome:
    """An answer of the reconcile URL."""
    return answered(200, body=json.dumps({"state": state, **more}).encode())


def asked(settlement: Settlement, outcome: Outcome, **over: object) -> Settlement:
    """What ``outcome`` of the ask makes of the task that ``settlement`` left."""
    return decided(again(settlement, **over), outcome)


def reason(settlement: Settlement) -> DeadReason | None:
    assert settlement.ending is not None, "the task has not ended"
    return settlement.ending.reason


def unanswered(settlement: Settlement, times: int) -> Settlement:
    """``settlement`` after so many asks without a usable answer."""
    for _ in range(times):
        settlement = asked(settlement, cut("connect_refused", Phase.CONNECT))
    return settlement


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_url_is_asked_exactly_when_the_work_may_have_been_done(name: str) -> None:
    outcome = Outcome(cls=CLASSES[name], phase=Phase.BODY)
    settlement = uncertain(outcome=outcome)
    wanted = (CLASSES[name].partial >= Partial.POSSIBLE or name == "local_resource") and name != "cancelled"
    assert (settlement.progress.memory.asking is not None) == wanted == reconcile.wanted(settlement.task, outcome)
    if wanted:
        assert settlement.state is TaskState.QUEUED


def test_an_outcome_that_never_reached_the_target_is_not_asked_about() -> None:
    settlement = uncertain(outcome=cut("timeout", Phase.CONNECT))
    assert settlement.state is TaskState.QUEUED
    assert settlement.progress.memory.asking is None


def test_a_target_that_calls_the_task_off_is_not_asked_about() -> None:
    aborted = answered(500, headers=(("taskqueue-control", "abort"),))
    assert aborted.partial is Partial.POSSIBLE
    assert reason(uncertain(outcome=aborted)) is DeadReason.REJECTED


def test_a_task_that_names_nobody_is_not_asked_about() -> None:
    assert decided(running(), cut("timeout")).progress.memory.asking is None


def test_nobody_is_asked_about_a_webhook() -> None:
    assert decided(running_webhook(policy=policy()), cut("timeout")).progress.memory.asking is None


def test_the_question_waits_as_long_as_the_retry_would_have() -> None:
    plain = decided(running(), answered(504))
    settlement = uncertain(outcome=answered(504))
    assert settlement.wait == plain.wait == 30 * SECOND
    assert settlement.progress.charged == plain.progress.charged == 1
    assert settlement.attempt is not None
    assert settlement.attempt.kind is AttemptKind.CALL


def test_work_that_is_done_is_a_success_with_the_result_that_was_told() -> None:
    settlement = asked(uncertain(**HOOKED), said("done", result=RESULT))
    assert settlement.state is TaskState.SUCCEEDED
    assert settlement.attempt is not None
    assert settlement.attempt.outcome.response is not None
    assert settlement.attempt.outcome.response.body == json.dumps(RESULT).encode()
    assert settlement.ending is not None
    assert (settlement.ending.cls, settlement.ending.worst_partial) == ("success", Partial.LIKELY)
    assert settlement.events == (WebhookEvent.SUCCEEDED,)


def test_work_that_is_done_without_a_result_succeeds_with_an_empty_one() -> None:
    attempt = asked(uncertain(), said("done")).attempt
    assert attempt is not None
    assert attempt.outcome.response is not None
    assert attempt.outcome.response.body == b""


def test_a_result_may_be_any_json_value() -> None:
    for text in ("null", '"\\ud800"', "[1,2.5,true]", '{"ü":"€"}'):
        attempt = asked(uncertain(), answered(200, body=f'{{"state":"done","result":{text}}}'.encode())).attempt
        assert attempt is not None
        assert attempt.outcome.response is not None
        result = attempt.outcome.response.body.decode("utf-8", "surrogatepass")
        assert json.loads(result) == json.loads(text)


def test_work_that_is_not_done_is_tried_again_at_once() -> None:
    settlement = asked(uncertain(), said("not-done"))
    assert (settlement.state, settlement.wait) == (TaskState.QUEUED, timedelta(0))
    assert settlement.progress.memory.asking is None
    call = decided(again(settlement), answered(200))
    assert call.state is TaskState.SUCCEEDED


def test_an_ask_is_on_record_and_free() -> None:
    before = uncertain()
    settlement = asked(before, said("not-done"))
    assert settlement.attempt is not None
    assert (settlement.attempt.kind, settlement.attempt.charged) == (AttemptKind.RECONCILE, False)
    assert settlement.attempt.outcome.error_message == "the reconcile URL said: not-done"
    assert settlement.progress.charged == before.progress.charged
    assert settlement.progress.deferred == before.progress.deferred + 1
    assert settlement.progress.memory.previous == "timeout"
    assert settlement.events == ()


def test_a_failed_ask_is_no_failed_attempt_to_tell_of() -> None:
    before = uncertain(**HOOKED)
    assert before.events == (WebhookEvent.ATTEMPT_FAILED,)
    assert asked(before, cut("timeout")).events == ()


@pytest.mark.parametrize(
    ("task", "outcome", "expected"),
    [
        (after(*["timeout"] * 3, policy=policy()), cut("timeout"), DeadReason.EXHAUSTED),
        (running(policy=policy()), answered(302), DeadReason.REJECTED),
        (running(policy=policy(on_lost=OnLost.DEAD)), cut("worker_lost"), DeadReason.LOST),
    ],
)
def test_a_task_that_would_die_asks_first(task: Task, outcome: Outcome, expected: DeadReason) -> None:
    settlement = decided(task, outcome)
    assert settlement.state is TaskState.QUEUED
    assert asked(settlement, said("done")).state is TaskState.SUCCEEDED
    dead = asked(settlement, said("not-done"))
    assert reason(dead) is expected
    assert dead.ending is not None
    assert dead.ending.cls == outcome.cls.name


def test_a_death_after_an_ask_tells_of_the_call_and_not_of_the_ask() -> None:
    task = after(*["server_error"] * 3, policy=policy())
    call = answered(500)
    plain = decided(after(*["server_error"] * 3), call)
    dead = asked(unanswered(decided(task, call), 2), said("not-done"))
    assert plain.ending is not None
    assert dead.ending is not None
    assert dead.ending.fingerprint == plain.ending.fingerprint


def test_an_ask_without_an_answer_is_repeated_with_growing_waits() -> None:
    settlement, waits = uncertain(), []
    for _ in range(4):
        settlement = unanswered(settlement, 1)
        assert settlement.progress.memory.asking is not None
        waits.append(settlement.wait)
    assert waits == [2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]


@pytest.mark.parametrize("outcome", [cut("worker_lost"), cut("interrupted"), answered(503), answered(404)])
def test_whatever_keeps_an_answer_away_counts_as_one_failed_ask(outcome: Outcome) -> None:
    settlement = asked(uncertain(), outcome)
    assert settlement.progress.memory.asking is not None
    assert settlement.progress.memory.asking.failures == 1
    assert settlement.progress.lost == 0


def test_an_ask_that_was_never_sent_is_no_failed_one() -> None:
    settlement = unanswered(uncertain(), 4)
    for _ in range(3):
        settlement = asked(settlement, cut("released", Phase.CONNECT))
        assert (settlement.state, settlement.wait) == (TaskState.QUEUED, timedelta(0))
        assert settlement.progress.memory.asking is not None
        assert settlement.progress.memory.asking.failures == 4
    assert unanswered(settlement, 1).progress.memory.asking is None


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize(
    ("on_unknown", "expected"),
    [(OnUnknown.RETRY, None), (OnUnknown.HOLD, DeadReason.UNCERTAIN), (OnUnknown.FAIL, DeadReason.REJECTED)],
)
def test_when_nobody_knows_the_policy_decides(silent: bool, on_unknown: OnUnknown, expected: DeadReason | None) -> None:
    settlement = uncertain(running(policy=policy(on_unknown)))
    settlement = unanswered(settlement, 5) if silent else asked(settlement, said("unknown"))
    if expected is None:
        assert (settlement.state, settlement.wait) == (TaskState.QUEUED, timedelta(0))
        assert settlement.progress.memory.asking is None
    else:
        assert reason(settlement) is expected


@pytest.mark.parametrize(
    ("on_unknown", "expected"),
    [
        (OnUnknown.RETRY, DeadReason.EXHAUSTED),
        (OnUnknown.HOLD, DeadReason.UNCERTAIN),
        (OnUnknown.FAIL, DeadReason.EXHAUSTED),
    ],
)
def test_when_nobody_knows_a_task_without_retries_dies(on_unknown: OnUnknown, expected: DeadReason) -> None:
    settlement = uncertain(running(policy=policy(on_unknown), retries=0))
    assert reason(asked(settlement, said("unknown"))) is expected


def test_each_question_has_five_asks_of_its_own() -> None:
    settlement = asked(unanswered(uncertain(), 4), said("not-done"))
    second = decided(again(settlement), cut("timeout"))
    assert second.progress.memory.asking is not None
    assert second.progress.memory.asking.failures == 0


def test_with_little_time_left_it_is_asked_in_haste() -> None:
    settlement = asked(uncertain(expires_in=10 * SECOND), answered(503, headers=RA), expires_in=SECOND)
    assert settlement.wait == SECOND / 2
    assert settlement.progress.memory.asking is not None


def test_with_no_time_left_an_ask_is_the_last() -> None:
    late = uncertain(running(policy=policy(OnUnknown.HOLD), expires_in=10 * SECOND))
    assert reason(asked(late, cut("timeout"), expires_in=timedelta(0))) is DeadReason.UNCERTAIN
    assert asked(uncertain(expires_in=10 * SECOND), cut("timeout"), expires_in=timedelta(0)).wait == timedelta(0)


def test_who_is_asked_may_say_when_to_ask_again_within_reason() -> None:
    assert asked(uncertain(), answered(503, headers=RA)).wait == 120 * SECOND
    assert asked(uncertain(), answered(503, headers=(("retry-after", "86400"),))).wait == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("on_unknown", "expected"),
    [
        (OnUnknown.RETRY, DeadReason.EXPIRED),
        (OnUnknown.FAIL, DeadReason.EXPIRED),
        (OnUnknown.HOLD, DeadReason.UNCERTAIN),
    ],
)
def test_a_task_that_expires_before_it_can_ask_dies(on_unknown: OnUnknown, expected: DeadReason) -> None:
    at_once = uncertain(running(policy=policy(on_unknown), expires_in=SECOND))
    assert reason(at_once) is expected
    waiting = uncertain(running(policy=policy(on_unknown))).progress
    assert reason(expire(queued(policy=policy(on_unknown), progress=waiting), now=NOW)) is expected


def test_a_spent_budget_is_named_before_the_expiry_that_kept_it_from_asking() -> None:
    spent = after(*["timeout"] * 3, policy=policy(), expires_in=SECOND)
    assert reason(decided(spent, cut("timeout"))) is DeadReason.EXHAUSTED
    waiting = decided(after(*["timeout"] * 3, policy=policy()), cut("timeout")).progress
    settlement = expire(queued(policy=policy(), progress=waiting), now=NOW)
    assert reason(settlement) is DeadReason.EXHAUSTED
    assert settlement.ending is not None
    assert settlement.ending.fingerprint == waiting.memory.asking.fingerprint  # type: ignore[union-attr]


def test_a_task_that_is_cancelled_while_asking_has_the_ask_on_record() -> None:
    before = uncertain(**HOOKED)
    settlement = cancel(again(before, **HOOKED), now=NOW)
    assert settlement.state is TaskState.CANCELLED
    assert settlement.attempt is not None
    assert (settlement.attempt.kind, settlement.attempt.charged) == (AttemptKind.RECONCILE, False)
    assert settlement.attempt.outcome.cls.name == "cancelled"
    assert settlement.progress.charged == before.progress.charged
    assert settlement.progress.deferred == before.progress.deferred + 1
    assert settlement.follow_up is None


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"done",
            b"[]",
            b'"done"',
            b"null",
            b"{}",
            b'{"state":null}',
            b'{"state":"DONE"}',
            b'{"state":["done"]}',
        ),
        *(b'{"state": "done"', b"\xff", b"[" * 100_000),
    ],
)
def test_an_answer_that_says_nothing_is_no_answer(body: bytes) -> None:
    reading = reconcile.read(answered(200, body=body))
    assert reading.answer is None
    assert reading.outcome.error_type == "Reconcile"
    assert "did not answer" in (reading.outcome.error_message or "")


def test_an_answer_that_is_cut_is_no_answer() -> None:
    reading = reconcile.read(answered(200, body=b'{"state":"done"}', truncated=True))
    assert reading.answer is None
    assert reading.outcome.error_message == "the answer of the reconcile URL is too long"


def test_an_answer_that_is_no_success_is_no_answer() -> None:
    for outcome in (answered(500, body=b'{"state":"done"}'), cut("timeout"), Outcome(cls=CLASSES["success"])):
        assert reconcile.read(outcome) == reconcile.Reading(None, outcome)


@pytest.mark.parametrize("answer", Answer)
def test_the_three_answers_are_read(answer: Answer) -> None:
    assert reconcile.read(said(answer.value, more=1)).answer is answer


@given(st.binary() | st.from_regex(r'\{"state":.{0,40}\}').map(str.encode))
def test_no_answer_breaks_the_reading(body: bytes) -> None:
    assert reconcile.read(answered(200, body=body)).answer in {None, *Answer}
