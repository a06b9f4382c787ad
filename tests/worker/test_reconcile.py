"""Asking whether the work was done, against real targets and both databases."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from taskqueue.core.memory import Asking
from taskqueue.core.policy import OnUnknown, Policy, Reconcile
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import Attempt, Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.core.verdict import Ruling, Verdict, When
from taskqueue.store import tasks
from taskqueue.store.database import Database
from taskqueue.worker.chores import Chores
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, look_up, settle_one
from tests.support.clock import Clock
from tests.support.target import LocalTarget, answer, hang_up, silence
from tests.worker.conftest import Start
from tests.worker.running import ended, submit_to, until

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOON = Backoff(type=BackoffType.FIXED, initial=timedelta(seconds=0.05), jitter=Jitter.NONE)
DONE, NOT_DONE, UNKNOWN = (b'{"state": "%s"}' % state for state in (b"done", b"not-done", b"unknown"))


def asking(url: str, *, on_unknown: str = "retry", timeout: float = 10.0, verdicts: tuple[Verdict, ...] = ()) -> Policy:
    reconcile = Reconcile(url=url, timeout=timedelta(seconds=timeout), on_unknown=OnUnknown(on_unknown))
    return Policy(reconcile=reconcile, verdicts=verdicts)


def attempts(database: Database, task: Task) -> list[Attempt]:
    with database.read() as conn:
        return [attempt for _, attempt in tasks.attempts(conn, task.spec.project, task.id)]


def record(database: Database, task: Task) -> list[tuple[str, str]]:
    """Kind and outcome class of each attempt."""
    return [(each.kind.value, each.outcome.cls.name) for each in attempts(database, task)]


def test_done_ends_the_task_with_the_result_that_was_told(
    database: Database, target: LocalTarget, start: Start
) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, b'{"state": "done", "result": {"id": 7}}'))
        task = submit_to(database, target.url, policy=asking(knows.url), backoff=SOON)
        start()
        done = ended(database, task)
        assert (len(target.hits), len(knows.hits)) == (1, 1)
    assert done.state is TaskState.SUCCEEDED
    assert done.last_attempt is not None
    assert done.last_attempt.outcome.response is not None
    assert done.last_attempt.outcome.response.body == b'{"id": 7}'
    assert record(database, task) == [("call", "no_response"), ("reconcile", "success")]


def test_the_question_tells_of_the_task_and_is_signed_like_any_delivery(
    database: Database, target: LocalTarget, start: Start
) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, DONE))
        headers = (("X-Shop", "9"), ("Authorization", "Bearer abc"))
        body = b'{"n": 1.0, "s": "\\u0000"}'
        task = submit_to(
            database,
            target.url,
            policy=asking(knows.url),
            backoff=SOON,
            headers=headers,
            body=body,
            metadata=b'{"a":1.0}',
        )
        start(signing_secret=SECRET)
        ended(database, task)
        (call,), (hit,) = target.hits, knows.hits
    assert (hit.method, hit.path, hit.header("content-type")) == ("POST", "/work", "application/json")
    assert b'"payload":' + body in hit.body
    assert b'"metadata":{"a":1.0}' in hit.body
    told = Webhook(SECRET).verify(hit.body, dict(hit.headers))
    assert (told["task"]["id"], told["task"]["status"]) == (str(task.id), "running")
    assert "headers" not in told["task"]
    assert hit.header("taskqueue-attempt-kind") == "reconcile"
    assert hit.header("taskqueue-task-id") == hit.header("idempotency-key") == str(task.id)
    assert hit.header("taskqueue-previous-outcome") == "no_response"
    assert (hit.header("taskqueue-attempt"), call.header("taskqueue-attempt")) == ("2", "1")
    assert (call.header("taskqueue-attempt-kind"), call.header("x-shop")) == (None, "9")
    assert hit.header("webhook-id") == hit.header("taskqueue-attempt-id") != call.header("webhook-id")
    assert (hit.header("x-shop"), hit.header("authorization")) == (None, None)


@pytest.mark.parametrize(
    ("content", "kind", "member", "value"),
    [
        (b"plain", "text/plain", "body", "plain"),
        (b"\xff\x00", "application/octet-stream", "bodyBase64", "/wA="),
        (None, None, "payload", None),
    ],
)
def test_other_contents_are_told_as_they_are_shown(
    database: Database, target: LocalTarget, start: Start, content: bytes, kind: str, member: str, value: str
) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, DONE))
        task = submit_to(database, target.url, policy=asking(knows.url), backoff=SOON, body=content, content_type=kind)
        start()
        ended(database, task)
        (hit,) = knows.hits
    assert json.loads(hit.body)[member] == value


def test_the_callers_own_idempotency_key_goes_along(database: Database, target: LocalTarget, start: Start) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, DONE))
        own = (("idempotency-KEY", "order-7"),)
        task = submit_to(database, target.url, policy=asking(knows.url), backoff=SOON, headers=own)
        start()
        ended(database, task)
        assert knows.hits[0].header("idempotency-key") == "order-7"


def test_not_done_lets_the_retry_go_ahead(database: Database, target: LocalTarget, start: Start) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, NOT_DONE))
        task = submit_to(database, target.url, policy=asking(knows.url), backoff=SOON)
        start()
        assert ended(database, task).state is TaskState.SUCCEEDED
        assert (len(target.hits), len(knows.hits)) == (2, 1)
    assert record(database, task) == [("call", "no_response"), ("reconcile", "success"), ("call", "success")]


def test_nobody_knowing_can_hold_the_task_for_a_person(database: Database, target: LocalTarget, start: Start) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, UNKNOWN))
        task = submit_to(database, target.url, policy=asking(knows.url, on_unknown="hold"), backoff=SOON)
        start()
        dead = ended(database, task)
        assert len(target.hits) == 1
    assert dead.ending is not None
    assert (dead.ending.reason, dead.ending.cls) == (DeadReason.UNCERTAIN, "no_response")


def test_an_answer_too_long_for_the_record_is_read_to_its_end(
    database: Database, target: LocalTarget, start: Start
) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, b'{"result": "%s", "state": "done"}' % (b"x" * 300_000)))
        task = submit_to(database, target.url, policy=asking(knows.url), backoff=SOON)
        start()
        done = ended(database, task)
    assert done.state is TaskState.SUCCEEDED
    assert done.last_attempt is not None
    assert done.last_attempt.outcome.response is not None
    assert (len(done.last_attempt.outcome.response.body), done.last_attempt.outcome.response.truncated) == (16384, True)


def failures(database: Database, task: Task) -> int:
    asked = look_up(database, task.id).progress.memory.asking
    return asked.failures if asked is not None else 0


BEHAVIOURS: dict[str, Any] = {
    "refused": answer(500),
    "no answer": hang_up,
    "silence": silence,
    "nonsense": answer(200, b"yes"),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_whoever_does_not_answer_is_asked_again_within_its_own_time(
    database: Database, target: LocalTarget, start: Start, behaviour: Any
) -> None:
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(behaviour, answer(200, DONE))
        task = submit_to(database, target.url, policy=asking(knows.url, timeout=0.5), backoff=SOON)
        start()
        assert ended(database, task).state is TaskState.SUCCEEDED
        assert (len(target.hits), len(knows.hits)) == (1, 2)
    assert [kind for kind, _ in record(database, task)] == ["call", "reconcile", "reconcile"]


@pytest.mark.parametrize("url", ["http://127.1/work", "http://10.1.2.3/work"])
def test_an_address_that_may_not_be_asked_is_a_failed_ask(
    database: Database, target: LocalTarget, start: Start, url: str
) -> None:
    target.then(hang_up)
    task = submit_to(database, target.url, policy=asking(url), backoff=SOON)
    start()
    until(lambda: failures(database, task) == 1)
    assert record(database, task)[:2] == [("call", "no_response"), ("reconcile", "target_forbidden")]
    assert len(target.hits) == 1


def test_verdicts_are_about_the_target_and_not_about_whoever_is_asked(
    database: Database, target: LocalTarget, start: Start
) -> None:
    fails = Verdict(when=When(json_path="$.state", equals="done"), outcome=Ruling.FAIL)
    with LocalTarget() as knows:
        target.then(hang_up)
        knows.then(answer(200, DONE))
        task = submit_to(database, target.url, policy=asking(knows.url, verdicts=(fails,)), backoff=SOON)
        start()
        assert ended(database, task).state is TaskState.SUCCEEDED


def test_a_worker_that_dies_while_it_asks_is_a_failed_ask(database: Database, clock: Clock) -> None:
    task = submit_to(database, "http://target.example/work", policy=asking("http://knows.example/work"), backoff=SOON)
    settle_one(database, claim_one(database), answered(500))
    clock.advance(seconds=1)
    asked = claim_one(database)
    assert asked.progress.memory.asking == Asking(
        status=500, error_type="HTTPStatus", fingerprint=attempts(database, task)[0].fingerprint
    )
    second, kept = timedelta(seconds=0.1), timedelta(days=14)
    chores = Chores(database, limits=Limits(), reclaim_every=second, keep_ended=kept, keep_dead=kept)
    try:
        chores.start()
        clock.advance(seconds=16)
        until(lambda: failures(database, task) == 1)
    finally:
        chores.thread.stop()
        chores.thread.join(5)
    waiting = look_up(database, task.id)
    assert (waiting.state, waiting.progress.lost) == (TaskState.QUEUED, 0)
    assert record(database, task) == [("call", "server_error"), ("reconcile", "worker_lost")]
