"""The road of a claimed task, against real targets and both databases."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import insert
from standardwebhooks import Webhook, WebhookVerificationError
from uuid_utils.compat import uuid7

from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import DEFAULT_PROJECT, TaskState
from taskqueue.store import dead_letters, projects, secrets, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.schema import signing_secrets
from tests.support.builders import look_up, submit_one
from tests.support.clock import Clock
from tests.support.target import LocalTarget, answer, drip, reset, silence
from tests.worker.conftest import Start
from tests.worker.running import ended, outcomes, submit_to, until

SOON = Backoff(type=BackoffType.FIXED, initial=timedelta(seconds=0.3), jitter=Jitter.NONE)
LATER = Backoff(initial=timedelta(hours=1), jitter=Jitter.NONE)


def secrets_of(database: Database) -> tuple[str, ...]:
    with database.begin() as conn:
        return secrets.ensure(conn, database, DEFAULT_PROJECT)


def test_a_task_is_delivered_byte_for_byte_and_its_answer_kept(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.then(answer(201, b"made", headers=(("X-Made", "1"),)))
    body = b'{"n": 1.0, "s": "\\u0000"}'
    task = submit_to(database, target.url, body=body, headers=(("X-Shop", "9"),))
    start()
    done = ended(database, task)
    (hit,) = target.hits
    assert (hit.method, hit.path, hit.body) == ("POST", "/work", body)
    assert (hit.header("x-shop"), hit.header("content-type")) == ("9", "application/json")
    assert done.state is TaskState.SUCCEEDED
    assert done.last_attempt is not None
    assert done.last_attempt.outcome.response is not None
    assert done.last_attempt.outcome.response.body == b"made"
    assert hit.header("taskqueue-attempt-id") == str(done.last_attempt.id)


def test_a_failure_is_tried_again_after_its_backoff_and_every_attempt_is_on_record(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.then(answer(500), reset)
    task = submit_to(database, target.url, backoff=SOON)
    start()
    done = ended(database, task)
    assert outcomes(database, task) == ["server_error", "no_response", "success"]
    assert (done.progress.number, done.progress.charged) == (3, 3)
    first, second, third = target.hits
    assert min(second.at - first.at, third.at - second.at) >= 0.3
    assert {hit.header("idempotency-key") for hit in target.hits} == {str(task.id)}
    assert {hit.header("webhook-id") for hit in target.hits} == {str(task.id)}
    assert len({hit.header("taskqueue-attempt-id") for hit in target.hits}) == 3
    assert [hit.header("taskqueue-attempt") for hit in target.hits] == ["1", "2", "3"]
    assert [hit.header("taskqueue-previous-outcome") for hit in target.hits] == [None, "server_error", "no_response"]


def test_a_retry_waits_as_a_row(database: Database, target: LocalTarget, start: Start, clock: Clock) -> None:
    target.then(answer(500))
    task = submit_to(database, target.url, backoff=LATER)
    start().drain()  # it may have claimed the task already, and gives it back then
    start()
    until(lambda: outcomes(database, task)[-1:] == ["server_error"])
    waiting = look_up(database, task.id)
    assert waiting.state is TaskState.QUEUED
    assert waiting.not_before is not None
    assert len(target.hits) == 1
    clock.advance(hours=1)
    assert ended(database, task).state is TaskState.SUCCEEDED


def test_a_throttled_task_waits_as_long_as_it_was_told_and_is_not_charged(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.then(answer(429, headers=(("Retry-After", "1"),)))
    task = submit_to(database, target.url, retries=0, backoff=SOON)
    start()
    done = ended(database, task)
    first, second = target.hits
    assert second.at - first.at >= 1
    assert (done.state, done.progress.charged, done.progress.deferred) == (TaskState.SUCCEEDED, 1, 1)


@pytest.mark.parametrize("behaviour", [silence, drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b"." * 999)])
def test_no_peer_can_stretch_an_attempt_beyond_its_timeout(
    database: Database, target: LocalTarget, start: Start, behaviour: object
) -> None:
    target.default = behaviour  # type: ignore[assignment]
    task = submit_to(database, target.url, timeout=timedelta(seconds=1), retries=0)
    start()
    dead = ended(database, task)
    assert dead.ending is not None
    assert (dead.ending.reason, dead.ending.cls) == (DeadReason.EXHAUSTED, "timeout")
    assert dead.last_attempt is not None
    taken = dead.last_attempt.finished_at - dead.last_attempt.started_at
    assert timedelta(seconds=1) <= taken <= timedelta(seconds=10), "either peer would go on for longer"
    until(lambda: target.open_connections == 0)


def test_a_rejected_task_is_dead_at_once_and_lies_with_the_dead_letters(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.then(answer(400, b"no such account"))
    task = submit_to(database, target.url)
    start()
    assert ended(database, task).state is TaskState.DEAD
    with database.read() as conn:
        page = dead_letters.search(conn, DEFAULT_PROJECT, DeadLetterFilter(), cursor=None, limit=10)
    (letter,) = page.items
    assert (letter.task.id, letter.reason) == (task.id, DeadReason.REJECTED)
    assert len(target.hits) == 1


def test_the_end_is_told_by_a_signed_webhook_until_somebody_takes_it(
    database: Database, target: LocalTarget, start: Start, clock: Clock
) -> None:
    with LocalTarget() as hook:
        hook.then(answer(503))
        task = submit_to(database, target.url, webhook_url=hook.url, metadata=b'{"order": 7}')
        start()
        ended(database, task)
        until(lambda: len(hook.hits) == 1)
        with database.read() as conn:
            (webhook,) = tasks.webhooks(conn, DEFAULT_PROJECT, task.id)
        until(lambda: look_up(database, webhook.id).progress.charged == 1)
        clock.advance(seconds=10)
        assert ended(database, webhook).state is TaskState.SUCCEEDED
        first, second = hook.hits
    assert first.header("webhook-id") == second.header("webhook-id") == str(webhook.id)
    assert first.body == second.body
    (secret,) = secrets_of(database)
    told = Webhook(secret).verify(second.body, dict(second.headers))
    assert (told["type"], told["data"]["id"], told["data"]["metadata"]) == (
        "task.succeeded",
        str(task.id),
        {"order": 7},
    )
    assert json.loads(second.body)["data"]["status"] == "succeeded"


def test_a_secret_from_the_settings_signs_in_place_of_a_stored_one(
    database: Database, target: LocalTarget, start: Start
) -> None:
    secret = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    task = submit_to(database, target.url, body=b"{}")
    start(signing_secret=secret)
    ended(database, task)
    (hit,) = target.hits
    assert Webhook(secret).verify(hit.body, dict(hit.headers)) == {}


@pytest.mark.parametrize("given", [None, "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_each_project_signs_with_its_own_secret_whatever_the_settings_give_the_default_one(
    database: Database, target: LocalTarget, start: Start, given: str | None
) -> None:
    with database.begin() as conn:
        projects.create(conn, database, "acme")
        (acme,) = secrets.current(conn, "acme")
    with LocalTarget() as hook:
        told = {"body": b"{}", "webhook_url": hook.url}
        (ours, theirs) = (submit_to(database, target.url, project=name, **told) for name in (DEFAULT_PROJECT, "acme"))
        start(signing_secret=given)
        until(lambda: len(hook.hits) == 2)
        hits = [*target.hits, *hook.hits]
    (default,) = (given,) if given is not None else secrets_of(database)
    signed_by: dict[str, list[str]] = {acme: [], default: []}
    for hit in hits:
        for secret, ids in signed_by.items():
            with suppress(WebhookVerificationError):
                Webhook(secret).verify(hit.body, dict(hit.headers))
                ids.append(str(json.loads(hit.body).get("data", {}).get("id") or hit.header("taskqueue-task-id")))
    assert signed_by == {acme: [str(theirs.id)] * 2, default: [str(ours.id)] * 2}


def test_nothing_is_sent_to_a_forbidden_address(database: Database, target: LocalTarget, start: Start) -> None:
    task = submit_to(database, target.url)
    start(allowed_targets="")
    dead = ended(database, task)
    assert dead.ending is not None
    assert (dead.ending.reason, dead.ending.cls) == (DeadReason.REJECTED, "target_forbidden")
    assert target.connections == 0


def test_a_surprise_inside_the_worker_is_a_free_failure_of_our_own(
    database: Database, target: LocalTarget, start: Start
) -> None:
    with database.begin() as conn:
        row = {"project": DEFAULT_PROJECT, "id": uuid7(), "secret": "no secret at all"}
        conn.execute(insert(signing_secrets), {**row, "created_at": database.now(conn)})
    task = submit_to(database, target.url, retries=0)
    start()
    until(lambda: outcomes(database, task)[:1] == ["local_resource"])
    waiting = look_up(database, task.id)
    assert (waiting.state, waiting.progress.charged) == (TaskState.QUEUED, 0)
    assert target.connections == 0


def test_a_target_that_is_no_longer_acceptable_is_refused(database: Database, start: Start) -> None:
    task = submit_one(database, target_url="http://127.1/work", origin="http://127.1:80", target_host="127.1")
    start()
    dead = ended(database, task)
    assert dead.ending is not None
    assert (dead.ending.reason, dead.ending.cls) == (DeadReason.REJECTED, "target_forbidden")


def test_a_webhook_url_that_cannot_be_called_keeps_neither_its_task_nor_a_slot(
    database: Database, target: LocalTarget, start: Start
) -> None:
    odd = submit_to(database, target.url, webhook_url="nowhere")
    task = submit_to(database, target.url)
    start(concurrency=1)
    for each in (odd, task):
        assert ended(database, each).state is TaskState.SUCCEEDED
        assert outcomes(database, each) == ["success"]
