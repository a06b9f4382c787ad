"""What a submission looks like on the wire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskqueue.client import NewTask, RawJson, TaskQueue
from taskqueue.web.models import SubmitTask
from tests.client.peer import TASK, accepts, peer, says

Client = Callable[..., TaskQueue]
URL = "https://your-app.example/api/process"


def submitted(client_of: Client, **fields: Any) -> Any:
    """The body that ``create`` sends for these fields."""
    with peer(accepts()) as service:
        client_of(service).tasks.create(target_url=URL, **fields)
        return service.asked[0].json


def test_a_task_is_posted_as_json_with_the_key_and_an_idempotency_key(client_of: Client) -> None:
    with peer(accepts()) as service:
        task = client_of(service).tasks.create(target_url=URL, payload={"jobId": "a1"}, retries=3, timeout=120)
    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", "/v1/tasks")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"] == "Bearer tq_secret"
    assert len(asked.headers["idempotency-key"]) == 32
    assert asked.json == {"targetUrl": URL, "payload": {"jobId": "a1"}, "retries": 3, "timeout": 120}
    assert (task.id, task.status, task.attempt, task.max_attempts) == (TASK["id"], "queued", 0, 4)
    assert not task.ended


def test_the_callers_own_idempotency_key_is_used_and_stays_out_of_the_body(client_of: Client) -> None:
    with peer(accepts()) as service:
        client_of(service).tasks.create(target_url=URL, idempotency_key="request-7")
    assert service.asked[0].headers["idempotency-key"] == "request-7"
    assert service.asked[0].json == {"targetUrl": URL}


def test_every_field_that_the_service_takes_can_be_given() -> None:
    assert set(NewTask.__annotations__) == set(SubmitTask.__struct_fields__)


def test_what_is_none_is_left_out_but_for_the_payload(client_of: Client) -> None:
    assert submitted(client_of, webhook_url=None, labels=None) == {"targetUrl": URL}
    assert submitted(client_of, payload=None) == {"targetUrl": URL, "payload": None}


def test_spans_become_seconds_and_times_utc(client_of: Client) -> None:
    local = datetime(2030, 1, 31, 9, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
    body = submitted(client_of, timeout=timedelta(minutes=2), delay="1m30s", run_at=local)
    assert body == {"targetUrl": URL, "timeout": 120, "delay": "1m30s", "runAt": "2030-01-31T08:00:00.123Z"}


def test_spans_inside_a_backoff_become_seconds_too(client_of: Client) -> None:
    steps = [timedelta(seconds=5), timedelta(minutes=1)]
    assert submitted(client_of, backoff={"type": "schedule", "schedule": steps})["backoff"] == {
        "type": "schedule",
        "schedule": [5, 60],
    }


def test_policies_and_follow_ups_are_spelled_as_the_service_has_them(client_of: Client) -> None:
    rules = [{"match": ["timeout"], "within": timedelta(hours=1), "backoff": {"initial": timedelta(seconds=1)}}]
    verdict = [{"when": {"json_path": "$.error", "equals": None}, "outcome": "success"}]
    follow_up = {"target_url": URL, "payload": {"own_name": None}, "on_success": {"task": {"target_url": URL}}}
    body = submitted(
        client_of,
        retry_policy=rules,
        verdict=verdict,
        reconcile={"url": URL, "on_unknown": "hold"},
        on_lost="dead",
        poison_after=3,
        on_failure={"match": ["partial:likely"], "task": follow_up},
    )
    assert body == {
        "targetUrl": URL,
        "retryPolicy": [{"match": ["timeout"], "within": 3600, "backoff": {"initial": 1}}],
        "verdict": [{"when": {"jsonPath": "$.error", "equals": None}, "outcome": "success"}],
        "reconcile": {"url": URL, "onUnknown": "hold"},
        "onLost": "dead",
        "poisonAfter": 3,
        "onFailure": {
            "match": ["partial:likely"],
            "task": {
                "targetUrl": URL,
                "payload": {"own_name": None},
                "onSuccess": {"task": {"targetUrl": URL}},
            },
        },
    }
    assert submitted(client_of, retry_policy="never") == {"targetUrl": URL, "retryPolicy": "never"}


def test_a_payload_of_a_follow_up_that_is_text_already_is_sent_byte_for_byte(client_of: Client) -> None:
    with peer(accepts()) as service:
        task: NewTask = {"target_url": URL, "payload": RawJson(b"[1e400, 1.0]")}
        client_of(service).tasks.create(target_url=URL, on_failure={"task": task})
    assert b'"task":{"targetUrl":"%b","payload":[1e400, 1.0]}' % URL.encode() in service.asked[0].body


def test_a_time_without_a_zone_is_refused_before_anything_is_sent(client_of: Client) -> None:
    with peer(accepts()) as service, pytest.raises(ValueError, match="run_at needs a time zone"):
        client_of(service).tasks.create(target_url=URL, run_at=datetime(2030, 1, 31, 9))  # noqa: DTZ001
    assert service.asked == []


def test_names_that_belong_to_the_caller_are_left_as_they_are(client_of: Client) -> None:
    payload = {"first_name": None, "at": [{"due_date": "x"}]}
    headers, metadata = {"X_Own_Header": "1"}, {"order_id": None}
    body = submitted(client_of, payload=payload, headers=headers, metadata=metadata)
    assert (body["payload"], body["headers"], body["metadata"]) == (payload, headers, metadata)


@pytest.mark.parametrize("payload", [None, 0, "", [], {}, "é\u2028\ud800", 1.5, [None, {"a": "\x00"}]])
def test_any_json_value_is_a_payload(client_of: Client, payload: object) -> None:
    assert submitted(client_of, payload=payload)["payload"] == payload


@pytest.mark.parametrize(
    "text", [b"[1e400]", b'{"a":1, "a" : 2.50}', b' "\xc3\xa9\\u00e9" ', b"12345678901234567890123"]
)
def test_json_that_is_text_already_is_sent_byte_for_byte(client_of: Client, text: bytes) -> None:
    with peer(accepts(), says(202, {"tasks": [TASK, TASK]}), says(200, TASK)) as service:
        queue = client_of(service)
        queue.tasks.create(target_url=URL, payload=RawJson(text), retries=1)
        queue.tasks.create_many([{"target_url": URL, "payload": RawJson(text)}, {"target_url": URL, "payload": 1}])
        queue.dead_letters.redrive(TASK["id"], payload=RawJson(text))
    one, many, redriven = (asked.body for asked in service.asked)
    assert one == b'{"targetUrl":"%b","payload":%b,"retries":1}' % (URL.encode(), text)
    assert b'"payload":%b},' % text in many
    assert redriven == b'{"payload":%b}' % text


@pytest.mark.parametrize(("payload", "error"), [(float("nan"), ValueError), (datetime.now(UTC), TypeError)])
def test_what_json_cannot_hold_is_refused_before_anything_is_sent(
    client_of: Client, payload: object, error: type[Exception]
) -> None:
    with peer(accepts()) as service, pytest.raises(error):
        client_of(service).tasks.create(target_url=URL, payload=payload)
    assert service.asked == []


def test_many_tasks_go_in_one_request_under_one_key_and_keep_their_own(client_of: Client) -> None:
    with peer(says(202, {"tasks": [TASK, TASK]})) as service:
        batch: list[NewTask] = [
            {"target_url": URL, "idempotency_key": "one", "timeout": timedelta(seconds=5)},
            {"target_url": URL, "payload": {"own_name": 2}},
        ]
        tasks = client_of(service).tasks.create_many(batch, idempotency_key="both")
    (asked,) = service.asked
    assert (asked.path, asked.headers["idempotency-key"]) == ("/v1/tasks/batch", "both")
    assert asked.json == {
        "tasks": [
            {"targetUrl": URL, "idempotencyKey": "one", "timeout": 5},
            {"targetUrl": URL, "payload": {"own_name": 2}},
        ]
    }
    assert [task.id for task in tasks] == [TASK["id"]] * 2


def test_the_service_may_live_below_a_path(client_of: Client) -> None:
    with peer(accepts()) as service:
        queue = TaskQueue(service.url + "/queue/")
        queue.tasks.create(target_url=URL)
        queue.close()
    assert service.asked[0].path == "/queue/v1/tasks"
    assert "authorization" not in service.asked[0].headers
