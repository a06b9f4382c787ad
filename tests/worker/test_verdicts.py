"""Answers that are judged by the caller's own rules, against real targets and both databases."""

from __future__ import annotations

import json
from datetime import timedelta

from taskqueue.core.policy import Policy
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import TaskState
from taskqueue.core.verdict import Ruling, Verdict, When
from taskqueue.store.database import Database
from tests.support.target import LocalTarget, answer
from tests.worker.conftest import Start
from tests.worker.running import ended, outcomes, submit_to

SOON = Backoff(type=BackoffType.FIXED, initial=timedelta(seconds=0.05), jitter=Jitter.NONE)
RULES = Policy(
    verdicts=(
        Verdict(when=When(json_path="$.status", equals="fatal"), outcome=Ruling.FAIL),
        Verdict(when=When(json_path="$.status", equals="error"), outcome=Ruling.RETRY),
        Verdict(when=When(header="x-queue", equals="full"), outcome=Ruling.DEFER),
        Verdict(when=When(status="409"), outcome=Ruling.SUCCESS),
    )
)


def test_an_error_inside_a_200_is_tried_again(database: Database, target: LocalTarget, start: Start) -> None:
    target.then(answer(200, b'{"status": "error"}'))
    task = submit_to(database, target.url, policy=RULES, backoff=SOON)
    start()
    done = ended(database, task)
    assert outcomes(database, task) == ["verdict_retry", "success"]
    assert (done.state, done.progress.charged) == (TaskState.SUCCEEDED, 2)


def test_a_verdict_can_end_a_task_either_way(database: Database, target: LocalTarget, start: Start) -> None:
    target.then(answer(200, b'{"status": "fatal"}'), answer(409, b"it is there already"))
    dead, done = (submit_to(database, target.url, policy=RULES, ordering_key="a") for _ in range(2))
    start()
    ending = ended(database, dead).ending
    assert ending is not None
    assert (ending.reason, ending.cls) == (DeadReason.REJECTED, "verdict_fail")
    assert ended(database, done).state is TaskState.SUCCEEDED


def test_a_rule_that_defers_charges_nothing_and_reads_headers_behind_any_number(
    database: Database, target: LocalTarget, start: Start
) -> None:
    many = tuple((f"X-{number}", "y" * 300) for number in range(100))
    target.then(answer(200, headers=(*many, ("X-Queue", "full"), ("Retry-After", "1"))))
    task = submit_to(database, target.url, policy=RULES, retries=0)
    start()
    done = ended(database, task)
    assert outcomes(database, task) == ["verdict_defer", "success"]
    assert (done.progress.charged, done.progress.deferred) == (1, 1)
    first, second = target.hits
    assert second.at - first.at >= 1


def test_what_stands_behind_the_beginning_of_a_body_is_judged_and_not_kept(
    database: Database, target: LocalTarget, start: Start
) -> None:
    lie = json.dumps({"data": "x" * 400_000, "status": "fatal"}).encode()
    target.then(answer(200, lie))
    task = submit_to(database, target.url, policy=RULES)
    start()
    dead = ended(database, task)
    assert dead.last_attempt is not None
    outcome = dead.last_attempt.outcome
    assert (outcome.cls.name, outcome.error_type) == ("verdict_fail", "Verdict")
    assert outcome.response is not None
    assert (outcome.response.body, outcome.response.truncated) == (lie[: 16 * 1024], True)


def test_many_large_answers_at_once_are_each_judged(database: Database, target: LocalTarget, start: Start) -> None:
    count = 60
    lie = json.dumps({"data": "x" * 900_000, "status": "fatal"}).encode()
    target.then(*(answer(200, lie) for _ in range(count)))
    tasks = [submit_to(database, target.url, policy=RULES) for _ in range(count)]
    start(concurrency=count)
    assert {ended(database, task).state for task in tasks} == {TaskState.DEAD}
