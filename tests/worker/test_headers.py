"""What every attempt tells its target about itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from taskqueue import __version__
from taskqueue.core.memory import Memory
from taskqueue.core.task import AttemptId, Lease, LeaseToken, Progress, Task, TaskId, TaskState
from taskqueue.worker.headers import attempt_headers
from tests.support.builders import new_task

NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
TASK_ID = TaskId(UUID("01890a5d-ac96-774b-bcce-b302099a8057"))
ATTEMPT_ID = AttemptId(UUID("01890a5d-ac97-7000-8000-0123456789ab"))
LEASE = Lease(project="default", task_id=TASK_ID, token=LeaseToken(UUID(int=7)), attempt_id=ATTEMPT_ID)
SECRETS = ("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD")


def running(*, revision: int | None = None, progress: Progress | None = None, **over: Any) -> Task:
    task = new_task(**over)
    return Task(
        id=TASK_ID,
        spec=task.spec,
        created_at=NOW,
        run_at=NOW,
        expires_at=NOW + timedelta(days=7),
        state=TaskState.RUNNING,
        progress=progress or Progress(number=1),
        lease=LEASE,
        started_at=NOW,
        revision=revision,
    )


def headers(task: Task) -> dict[str, str]:
    told: dict[str, str] = {}
    for name, value in attempt_headers(task, LEASE, secrets=SECRETS, now=NOW):
        told.setdefault(name.lower(), value)
    return told


def test_an_attempt_says_who_it_is_and_until_when() -> None:
    told = headers(running(retries=4, timeout=timedelta(seconds=2.5), progress=Progress(number=2)))
    assert told["taskqueue-task-id"] == str(TASK_ID)
    assert told["taskqueue-attempt-id"] == str(ATTEMPT_ID)
    assert (told["taskqueue-attempt"], told["taskqueue-max-attempts"]) == ("2", "5")
    assert told["taskqueue-deadline"] == "2030-01-02T03:04:08.178Z"
    assert told["taskqueue-expires-at"] == "2030-01-09T03:04:05.678Z"
    assert told["user-agent"] == f"taskqueue/{__version__}"


def test_the_outcome_before_is_told_once_there_was_one() -> None:
    assert "taskqueue-previous-outcome" not in headers(running())
    again = Progress(number=2, memory=Memory(failures={"server_error": 1}, previous="server_error"))
    assert headers(running(progress=again))["taskqueue-previous-outcome"] == "server_error"


@pytest.mark.parametrize(
    ("revision", "generation", "expected"),
    [
        pytest.param(None, 1, str(TASK_ID), id="first"),
        pytest.param(None, 3, str(TASK_ID), id="redriven as it was"),
        pytest.param(3, 3, f"{TASK_ID}.3", id="redriven with edits"),
        pytest.param(3, 4, f"{TASK_ID}.3", id="redriven once more, as edited before"),
    ],
)
def test_the_idempotency_key_changes_only_with_what_is_sent(
    revision: int | None, generation: int, expected: str
) -> None:
    task = running(revision=revision, progress=Progress(generation=generation, number=1))
    assert headers(task)["idempotency-key"] == expected


def test_no_header_of_the_caller_can_speak_for_us() -> None:
    told = headers(running(headers=(("taskqueue-attempt-id", "x"), ("Webhook-Id", "y"))))
    assert (told["taskqueue-attempt-id"], told["webhook-id"]) == (str(ATTEMPT_ID), str(TASK_ID))


def test_the_callers_own_headers_win_where_the_name_is_free() -> None:
    own = (("idempotency-KEY", "order-7"), ("User-agent", "shop"), ("content-type", "text/csv"), ("X-Shop", "9"))
    told = headers(running(headers=own))
    assert told["idempotency-key"] == "order-7"
    assert told["user-agent"] == "shop"
    assert told["content-type"] == "text/csv"
    assert told["x-shop"] == "9"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("body", [b'{"n": 1.0}', b"", "gr\u00fc\u00df".encode()])
def test_any_standard_webhooks_library_verifies_the_signature(secret: str, body: bytes) -> None:
    sent = attempt_headers(running(body=body), LEASE, secrets=SECRETS, now=datetime.now(UTC))
    Webhook(secret).verify(body, dict(sent), json_parse=False)


def test_another_body_does_not_verify() -> None:
    sent = dict(attempt_headers(running(body=b"[1]"), LEASE, secrets=SECRETS, now=datetime.now(UTC)))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[0]).verify(b"[2]", sent)


def test_a_trace_is_continued_from_the_submit_request() -> None:
    told = headers(running(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"))
    assert told["traceparent"] == "00-4bf92f3577b34da6a3ce929d0e0e4736-80000123456789ab-00"


@pytest.mark.parametrize("given", [None, "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_without_a_usable_trace_the_task_is_the_trace(given: str | None) -> None:
    assert headers(running(traceparent=given))["traceparent"] == f"00-{TASK_ID.hex}-80000123456789ab-01"


def test_a_task_without_content_type_sends_none() -> None:
    task = running(content_type=None, body=None)
    assert "content-type" not in headers(replace(task, spec=replace(task.spec, method="GET")))
