"""The task resource: status labels, times, what is masked, and a body that is text or is not."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from taskqueue.core.outcome import CLASSES, Outcome, Partial, Phase, Response, Timings
from taskqueue.core.reason import DeadReason
from taskqueue.core.resource import attempt_resource, masked, rfc3339, status, task_resource
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import DeadLetterId, Ending, Kind, Progress, Task, TaskState, WebhookEvent
from tests.core.examples import ATTEMPT_ID, CAUSE, NOW, TASK_ID, an_attempt, answered, cut, queued, running

LATER = NOW + timedelta(seconds=30)


def ended(state: TaskState, *, outcome: Outcome | None = None, reason: DeadReason | None = None) -> Task:
    """A task that ended now, by ``outcome`` if there was an attempt."""
    last = an_attempt(outcome) if outcome else None
    ending = Ending(
        state=state,
        finished_at=NOW,
        reason=reason,
        cls=outcome.cls.name if outcome else None,
        worst_partial=outcome.partial if outcome else Partial.NO,
    )
    progress = Progress(seq=3, number=1 if outcome else 0)
    return queued(state=state, not_before=None, ending=ending, last_attempt=last, progress=progress)


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (queued(not_before=LATER), "scheduled"),
        (queued(not_before=NOW), "queued"),
        (queued(not_before=NOW, held=True), "queued"),
        (queued(not_before=None), "queued"),
        (queued(not_before=LATER, progress=Progress(number=1)), "retrying"),
        (queued(not_before=NOW, progress=Progress(number=1)), "retrying"),
        (running(), "running"),
        (running(progress=Progress(number=4)), "running"),
        (ended(TaskState.SUCCEEDED, outcome=answered(200)), "succeeded"),
        (ended(TaskState.DEAD, outcome=answered(400), reason=DeadReason.REJECTED), "dead"),
        (ended(TaskState.CANCELLED), "cancelled"),
    ],
)
def test_scheduled_and_retrying_are_labels_of_a_queued_task(task: Task, label: str) -> None:
    assert status(task, now=NOW) == label
    assert task_resource(task, now=NOW)["status"] == label


def test_a_submitted_task_is_shown_as_it_was_asked_for() -> None:
    backoff = Backoff(
        type=BackoffType.SCHEDULE, schedule=(timedelta(seconds=1), timedelta(minutes=1)), jitter=Jitter.NONE
    )
    task = queued(
        headers=(("X-Tenant", "7"),),
        body=b"never shown here",
        content_type="text/plain",
        webhook_url="https://caller.example/hook",
        webhook_events=frozenset({WebhookEvent.DEAD, WebhookEvent.ATTEMPT_FAILED}),
        retries=4,
        timeout=timedelta(milliseconds=1500),
        backoff=backoff,
        queue="mail",
        priority=7,
        ordering_key="customer-1",
        flow_key="smtp",
        labels=("a", "b"),
    )
    assert task_resource(task, now=NOW) == {
        "id": str(TASK_ID),
        "kind": "task",
        "status": "queued",
        "targetUrl": "https://target.example/work?page=1",
        "method": "POST",
        "headers": {"X-Tenant": "7"},
        "contentType": "text/plain",
        "webhookUrl": "https://caller.example/hook",
        "webhookEvents": ["attemptFailed", "dead"],
        "retries": 4,
        "timeout": 1.5,
        "backoff": {
            "type": "schedule",
            "initial": 2.0,
            "factor": 2.0,
            "max": 900.0,
            "jitter": "none",
            "schedule": [1.0, 60.0],
        },
        "queue": "mail",
        "priority": 7,
        "orderingKey": "customer-1",
        "flowKey": "smtp",
        "labels": ["a", "b"],
        "attempt": 0,
        "maxAttempts": 5,
        "generation": 1,
        "seq": 1,
        "createdAt": "2026-03-01T11:59:00.000Z",
        "runAt": "2026-03-01T11:59:00.000Z",
        "startedAt": None,
        "finishedAt": None,
        "nextAttemptAt": "2026-03-01T12:00:00.000Z",
        "expiresAt": "2026-03-08T12:00:00.000Z",
        "result": None,
        "error": None,
        "deadReason": None,
        "deadLetterId": None,
        "links": {
            "self": f"/v1/tasks/{TASK_ID}",
            "attempts": f"/v1/tasks/{TASK_ID}/attempts",
            "webhooks": f"/v1/tasks/{TASK_ID}/webhooks",
        },
    }


def test_a_task_without_a_flow_key_flows_with_its_origin() -> None:
    resource = task_resource(queued(), now=NOW)
    assert (resource["flowKey"], resource["backoff"]) == ("https://target.example:443", None)
    assert task_resource(queued(kind=Kind.WEBHOOK, cause=CAUSE), now=NOW)["kind"] == "webhook"


def test_a_dead_task_names_its_dead_letter() -> None:
    letter = DeadLetterId(UUID(int=7))
    dead = replace(ended(TaskState.DEAD, outcome=answered(400), reason=DeadReason.REJECTED), dead_letter_id=letter)
    resource = task_resource(dead, now=NOW)
    assert resource["deadLetterId"] == str(letter)
    assert resource["links"]["deadLetter"] == f"/v1/dead-letters/{letter}"


def test_links_lead_only_to_what_there_can_be() -> None:
    assert task_resource(queued(), now=NOW)["links"].keys() == {"self", "attempts"}


def test_a_running_task_has_a_start_and_no_next_attempt() -> None:
    resource = task_resource(running(), now=NOW)
    assert (resource["startedAt"], resource["nextAttemptAt"]) == ("2026-03-01T11:59:58.000Z", None)
    assert resource["attempt"] == 1


def test_nobody_knows_when_a_held_task_comes_next() -> None:
    assert task_resource(queued(held=True), now=NOW)["nextAttemptAt"] is None


def test_a_retrying_task_shows_its_error_and_no_result() -> None:
    task = queued(not_before=LATER, progress=Progress(number=1), last_attempt=an_attempt(cut("timeout")))
    resource = task_resource(task, now=NOW)
    assert resource["result"] is None
    assert resource["startedAt"] == "2026-03-01T11:59:57.500Z"
    assert resource["error"] == {
        "class": "timeout",
        "type": "TestFailure",
        "message": "it ended as timeout",
        "retryable": True,
        "partialWork": "likely",
        "compensation": True,
    }


def test_a_succeeded_task_shows_its_result_and_no_error() -> None:
    resource = task_resource(ended(TaskState.SUCCEEDED, outcome=answered(201, body=b'{"id": 7}')), now=NOW)
    assert resource["finishedAt"] == "2026-03-01T12:00:00.000Z"
    assert (resource["error"], resource["deadReason"]) == (None, None)
    assert resource["result"] == {
        "statusCode": 201,
        "headers": {},
        "body": '{"id": 7}',
        "truncated": False,
        "durationMs": 2500.0,
    }


def test_a_dead_task_shows_both_and_the_worst_that_may_have_happened() -> None:
    task = ended(TaskState.DEAD, outcome=answered(400), reason=DeadReason.REJECTED)
    assert task.ending is not None
    worst = Ending(state=TaskState.DEAD, finished_at=NOW, reason=DeadReason.REJECTED, worst_partial=Partial.LIKELY)
    resource = task_resource(queued(state=TaskState.DEAD, ending=worst, last_attempt=task.last_attempt), now=NOW)
    assert resource["deadReason"] == "rejected"
    assert resource["error"] is not None
    assert (resource["error"]["class"], resource["error"]["retryable"]) == ("bad_request", False)
    assert resource["error"]["partialWork"] == "likely"
    assert resource["result"] is not None
    assert resource["result"]["statusCode"] == 400


def test_a_task_that_expired_waiting_says_so() -> None:
    resource = task_resource(ended(TaskState.DEAD, reason=DeadReason.EXPIRED), now=NOW)
    assert resource["result"] is None
    assert resource["error"] == {
        "class": "expired",
        "type": "Expired",
        "message": "the task expired before an attempt could start",
        "retryable": False,
        "partialWork": "no",
        "compensation": False,
    }


def test_a_task_that_expired_after_a_failure_shows_the_failure() -> None:
    error = task_resource(ended(TaskState.DEAD, outcome=cut("timeout"), reason=DeadReason.EXPIRED), now=NOW)["error"]
    assert error is not None
    assert error["class"] == "timeout"


def test_a_task_that_was_cancelled_waiting_has_no_error() -> None:
    resource = task_resource(ended(TaskState.CANCELLED), now=NOW)
    assert (resource["error"], resource["result"]) == (None, None)


def test_an_attempt_without_an_answer_has_no_result() -> None:
    assert (
        task_resource(ended(TaskState.DEAD, outcome=cut("timeout"), reason=DeadReason.LOST), now=NOW)["result"] is None
    )


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_compensation_is_for_those_who_must_act_or_look(name: str) -> None:
    outcome = Outcome(cls=CLASSES[name], phase=Phase.SENT)
    asked = name in {"timeout", "truncated_response", "gateway_timeout"}
    assert attempt_resource(an_attempt(outcome))["compensation"] == asked


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key"),
        *("x-auth-token", "Stripe-Secret", "X-Amz-Security-Token"),
    ],
)
def test_credentials_are_masked(name: str) -> None:
    assert masked([(name, "s3cret"), ("X-Plain", "seen")]) == {name: "***", "X-Plain": "seen"}
    shown = str(task_resource(queued(headers=((name, "s3cret"),)), now=NOW))
    answer = answered(200, headers=((name.lower(), "s3cret"),))
    shown += str(task_resource(ended(TaskState.SUCCEEDED, outcome=answer), now=NOW))
    shown += str(attempt_resource(an_attempt(answer)))
    assert "s3cret" not in shown


@pytest.mark.parametrize("name", ["X-Keyboard", "Content-Type", "Token-Count", "X-Cookie-Policy", "X-Monkey"])
def test_what_only_sounds_like_a_credential_is_shown(name: str) -> None:
    assert masked([(name, "seen")]) == {name: "seen"}


def test_a_body_that_is_no_text_is_shown_in_base64() -> None:
    for body in (b"\xff\xfe\x00", b"caf\xe9", b"\xed\xa0\x80"):
        result = attempt_resource(an_attempt(answered(200, body=body)))["response"]
        assert result is not None
        assert "body" not in result
        assert base64.b64decode(result["bodyBase64"]) == body


def test_a_body_that_is_text_is_shown_as_it_is() -> None:
    for body in (b"", b"\x00", "grüße, 世界".encode()):
        result = attempt_resource(an_attempt(answered(200, body=body, truncated=True)))["response"]
        assert result is not None
        assert "bodyBase64" not in result
        assert (result["body"].encode(), result["truncated"]) == (body, True)


def test_an_attempt_is_shown_with_all_that_was_measured() -> None:
    timings = Timings(dns=0.001, connect=0.002, tls=0.003, send=0.004, wait=0.005, read=None)
    outcome = Outcome(
        cls=CLASSES["server_error"],
        phase=Phase.BODY,
        response=Response(status=500, headers=(("server", "x"),), body=b"no"),
        error_type="HTTPStatus",
        error_message="the target answered 500",
        timings=timings,
        bytes_sent=10,
        bytes_received=20,
    )
    assert attempt_resource(an_attempt(outcome, number=3)) == {
        "id": str(ATTEMPT_ID),
        "number": 3,
        "class": "server_error",
        "charged": True,
        "phase": "body",
        "statusCode": 500,
        "errorType": "HTTPStatus",
        "errorMessage": "the target answered 500",
        "partialWork": "possible",
        "compensation": False,
        "timings": {"dns": 0.001, "connect": 0.002, "tls": 0.003, "send": 0.004, "wait": 0.005, "read": None},
        "bytesSent": 10,
        "bytesReceived": 20,
        "response": {
            "statusCode": 500,
            "headers": {"server": "x"},
            "body": "no",
            "truncated": False,
            "durationMs": 2500.0,
        },
        "startedAt": "2026-03-01T11:59:57.500Z",
        "finishedAt": "2026-03-01T12:00:00.000Z",
        "worker": "worker-1",
    }


def test_an_attempt_that_got_no_answer_shows_none() -> None:
    resource = attempt_resource(an_attempt(cut("connect_refused", Phase.CONNECT)))
    assert (resource["statusCode"], resource["response"]) == (None, None)
    assert (resource["phase"], resource["partialWork"]) == ("connect", "no")


def test_times_are_utc_with_milliseconds_cut_and_not_rounded() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    assert rfc3339(datetime(2026, 3, 1, 17, 30, 0, 999_999, tzinfo=zone)) == "2026-03-01T12:00:00.999Z"
    assert rfc3339(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)) == "2026-12-31T23:59:59.000Z"
