"""Submitting a task: what is accepted is stored as it was sent; what is refused leaves nothing behind."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue.core.retry import Backoff, BackoffType
from taskqueue.core.task import Task, TaskId
from taskqueue.store.database import Database
from tests.support.builders import look_up
from tests.web.contract import Api, Json

TARGET = "https://target.example/work"
ODD_PAYLOADS = [
    b"null",
    b"[]",
    b'{"a":1.0,"b":1e400,"c":123456789012345678901234567890,"d":-0.0}',
    b'{"twice":1,"twice":2}',
    b'"\\u0000 \\ud800 \\uDFFF\\ud800"',
    '{ "käse" :\t"🧀" }'.encode(),
    b"9" * 6000,
    b"[" * 60 + b"]" * 60,
]


def stored(database: Database, resource: Json) -> Task:
    from uuid import UUID

    return look_up(database, TaskId(UUID(resource["id"])))


def refused(front: Api, **fields: Any) -> dict[str, str]:
    answer = front.post("/v1/tasks", {"targetUrl": TARGET, **fields})
    assert answer.status == 422, answer.content
    return answer.faults


def test_a_task_is_accepted_with_its_place_and_its_resource(api: Api) -> None:
    answer = api.post("/v1/tasks", {"targetUrl": TARGET, "payload": {"n": 1}})
    assert answer.status == 202
    assert answer.headers["location"] == f"/v1/tasks/{answer.json['id']}"
    assert answer.json["status"] == "queued"
    assert answer.json["payload"] == {"n": 1}
    assert api.get(answer.headers["location"]).json == answer.json


@pytest.mark.parametrize("payload", ODD_PAYLOADS, ids=range(len(ODD_PAYLOADS)))
def test_a_payload_is_stored_and_shown_byte_for_byte(api: Api, database: Database, payload: bytes) -> None:
    answer = api.post("/v1/tasks", b'{"payload":  ' + payload + b' , "targetUrl": "%s"}' % TARGET.encode())
    task = stored(database, answer.json)
    assert (task.spec.body, task.spec.content_type) == (payload, "application/json")
    assert b'"payload":' + payload in api.get(f"/v1/tasks/{task.id}").content


def test_every_field_reaches_the_store(api: Api, database: Database) -> None:
    resource = api.submit(
        targetUrl="https://target.example/work?x=1",
        method="PUT",
        headers={"X-Tenant": "a", "Authorization": "Bearer s3cret"},
        webhookUrl="https://caller.example/hook",
        webhookEvents=["dead", "attemptFailed"],
        retries=7,
        timeout="1m30s",
        backoff={"type": "fixed", "initial": "1h", "jitter": "none"},
        delay="10m",
        expiresIn="2h",
        queue="mail",
        orderingKey="account 7",
        labels=["blue", "blue", "7"],
        metadata={"order": 1.0},
        payload={},
    )
    spec = (task := stored(database, resource)).spec
    assert (spec.method, spec.retries, spec.timeout) == ("PUT", 7, timedelta(seconds=90))
    assert spec.headers == (("X-Tenant", "a"), ("Authorization", "Bearer s3cret"))
    assert spec.webhook_url == "https://caller.example/hook"
    assert {event.value for event in spec.webhook_events} == {"dead", "attemptFailed"}
    assert spec.backoff is not None
    assert spec.backoff.delay(1, jitter=0) == timedelta(hours=1)
    assert (spec.queue, spec.ordering_key, spec.labels) == ("mail", "account 7", ("blue", "7"))
    assert spec.metadata == b'{"order": 1.0}'
    assert task.run_at - task.created_at == timedelta(minutes=10)
    assert task.expires_at - task.created_at == timedelta(hours=2)
    assert resource["headers"] == {"X-Tenant": "a", "Authorization": "***"}
    assert resource["status"] == "scheduled"
    assert resource["metadata"] == {"order": 1.0}


def test_absolute_times_reach_the_store(api: Api, database: Database) -> None:
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    task = stored(
        database,
        api.submit(delayUntil=tomorrow.isoformat(), expiresAt=(tomorrow + timedelta(hours=1)).isoformat()),
    )
    assert (task.run_at, task.expires_at) == (tomorrow, tomorrow + timedelta(hours=1))


def test_the_aliases_submit_the_same_task(api: Api, database: Database) -> None:
    answer = api.post("/v1/tasks", {"callbackUrl": TARGET, "onCompleteUrl": "https://caller.example/", "maxRetries": 0})
    spec = stored(database, answer.json).spec
    assert (spec.target_url, spec.webhook_url, spec.retries) == (TARGET, "https://caller.example/", 0)


@pytest.mark.parametrize(
    ("fields", "body", "content_type"),
    [
        ({"body": "a,b\u0000"}, b"a,b\x00", "text/plain; charset=utf-8"),
        ({"body": "<a/>", "contentType": "application/xml"}, b"<a/>", "application/xml"),
        ({"bodyBase64": "AP+A"}, b"\x00\xff\x80", "application/octet-stream"),
        ({"body": ""}, b"", "text/plain; charset=utf-8"),
    ],
)
def test_other_bodies_than_json_are_delivered_too(
    api: Api, database: Database, fields: Json, body: bytes, content_type: str
) -> None:
    resource = api.submit(**fields)
    spec = stored(database, resource).spec
    assert (spec.body, spec.content_type) == (body, content_type)
    shown = resource.get("body", "").encode() or base64.b64decode(resource.get("bodyBase64", ""))
    assert shown == body
    assert "payload" not in resource


def test_a_text_that_claims_to_be_json_is_shown_as_the_text_it_is(api: Api) -> None:
    assert api.submit(body="{not json", contentType="application/json")["body"] == "{not json"
    assert api.submit(body='{"a": 1}', contentType="application/json")["payload"] == {"a": 1}


def test_a_valid_trace_is_continued_and_another_is_dropped(api: Api, database: Database) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for sent, kept in ((trace, trace), (trace.upper(), None), ("00-" + "0" * 32 + trace[35:], None), ("x", None)):
        answer = api.post("/v1/tasks", {"targetUrl": TARGET}, headers={"traceparent": sent})
        assert stored(database, answer.json).spec.traceparent == kept


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"payload": 1, "body": "x"}, {"/body"}),
        ({"body": "x", "bodyBase64": "eA=="}, {"/bodyBase64"}),
        ({"method": "GET", "payload": None}, {"/payload"}),
        ({"method": "DELETE", "body": ""}, {"/body"}),
        ({"payload": 1, "contentType": "text/plain"}, {"/contentType"}),
        ({"contentType": "text/plain"}, {"/contentType"}),
        ({"bodyBase64": "AP-A"}, {"/bodyBase64"}),
        ({"bodyBase64": "AP+"}, {"/bodyBase64"}),
        ({"metadata": [1]}, {"/metadata"}),
        ({"metadata": {"a": "x" * 4096}}, {"/metadata"}),
        ({"webhookEvents": ["dead"]}, {"/webhookEvents"}),
        ({"webhookUrl": "ftp://caller.example"}, {"/webhookUrl"}),
        ({"webhookUrl": "http://127.0.0.1/"}, {"/webhookUrl"}),
        ({"headers": {"Host": "x"}}, {"/headers/Host"}),
        ({"headers": {"X-A": "line\nfeed"}}, {"/headers/X-A"}),
        ({"delay": 1, "runAt": "2026-12-01T00:00:00Z"}, {"/runAt"}),
        ({"expiresIn": 1, "expiresAt": "2027-01-01T00:00:00Z"}, {"/expiresAt"}),
        ({"delay": "2h", "expiresIn": "1h"}, {"/expiresIn"}),
        ({"runAt": "1999-12-31T23:59:59Z"}, {"/runAt"}),
        ({"runAt": "0001-01-01T00:00:00+23:59"}, {"/runAt"}),
        ({"runAt": "9999-12-31T23:59:59-23:59"}, {"/runAt"}),
        ({"expiresAt": "9999-12-31T23:59:59Z"}, {"/expiresAt"}),
        ({"backoff": {"type": "schedule"}}, {"/backoff/schedule"}),
        ({"backoff": {"schedule": [1]}}, {"/backoff/schedule"}),
        ({"backoff": {"type": "fixed", "factor": 2}}, {"/backoff/factor"}),
        ({"backoff": {"type": "schedule", "schedule": [1], "initial": 1}}, {"/backoff/initial"}),
        ({"backoff": {"initial": "1m", "max": "59s"}}, {"/backoff/initial"}),
        ({"backoff": {"type": "schedule", "schedule": [1, 61], "max": "1m"}}, {"/backoff/schedule"}),
        ({"idempotencyTtl": "1h"}, {"/idempotencyTtl"}),
        ({"targetUrl": "lambda://function"}, {"/targetUrl"}),
        ({"targetUrl": "https://user:pw@target.example/"}, {"/targetUrl"}),
        ({"targetUrl": "https://10.0.0.1/"}, {"/targetUrl"}),
        ({"targetUrl": "https://target.example:22/"}, {"/targetUrl"}),
        ({"callbackUrl": "https://10.0.0.1/", "targetUrl": TARGET}, {"/callbackUrl"}),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_field(front: Api, fields: Json, pointers: set[str]) -> None:
    assert refused(front, **fields).keys() == pointers


def test_an_expiry_before_the_first_attempt_is_refused(front: Api) -> None:
    soon, later = ((datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (1, 2))
    assert refused(front, runAt=later, expiresAt=soon).keys() == {"/expiresAt"}
    assert refused(front, runAt=later, expiresIn="1h").keys() == {"/expiresIn"}


def test_an_expiry_that_leaves_no_time_to_start_is_refused(front: Api) -> None:
    ago, soon = ((datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
    assert "this time has passed" in refused(front, expiresAt=ago)["/expiresAt"]
    assert "before its delay is over" in refused(front, expiresAt=soon, delay="2h")["/expiresAt"]
    batch = front.post("/v1/tasks/batch", {"tasks": [{"targetUrl": TARGET}, {"targetUrl": TARGET, "expiresAt": ago}]})
    assert batch.faults.keys() == {"/tasks/1/expiresAt"}


def test_a_longest_wait_may_be_shorter_than_the_usual_first_one(api: Api, database: Database) -> None:
    spec = stored(database, api.submit(backoff={"max": "500ms"})).spec
    assert spec.backoff is not None
    assert spec.backoff.delay(1, jitter=1) == timedelta(milliseconds=500)


def test_shape_and_meaning_are_judged_in_one_answer(front: Api) -> None:
    faults = refused(front, retires=1, timeout=True, targetUrl="http://localhost/", payload=1, body="x", queue="/")
    assert faults.keys() == {"/retires", "/timeout", "/targetUrl", "/body", "/queue"}


def test_a_forbidden_target_is_refused_without_telling_where_it_leads(front: Api) -> None:
    detail = refused(front, targetUrl="http://169.254.169.254/latest/")["/targetUrl"]
    assert "its address is private or reserved" in detail
    assert "TASKQUEUE_ALLOWED_TARGETS" in detail
    assert "169" not in detail


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"targetUrl": "https://target.example:9000/"}, "port 9000 is none of 80, 443, 8080, 8443"),
        ({"targetUrl": "http://localhost/"}, "its name stands for the machine of the service"),
        ({"targetUrl": "ftp://target.example/"}, "the scheme ftp cannot be called"),
        ({"targetUrl": "target.example"}, "this is not an absolute URL"),
        ({"payload": 1, "body": "x"}, "payload and body are given; a task carries only one of them"),
        ({"backoff": {"type": "schedule"}}, 'type "schedule" needs a schedule: a list of waits such as ["10s", "1m"]'),
        ({"delay": 1, "runAt": "2026-12-01T00:00:00Z"}, "delay and runAt are both given; leave one of them out"),
        ({"runAt": "2099-01-01T00:00:00Z"}, "no more than a year ahead"),
        ({"webhookEvents": ["dead"]}, "there is no webhookUrl to tell; give one, or leave webhookEvents out"),
        ({"idempotencyTtl": "1h"}, "there is no idempotency key to keep; give one, or leave idempotencyTtl out"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(front: Api, fields: Json, message: str) -> None:
    (detail,) = refused(front, **fields).values()
    assert message in detail


def test_a_refused_task_leaves_nothing_behind(api: Api) -> None:
    for body in ({"targetUrl": TARGET, "retries": 101}, {"targetUrl": TARGET, "payload": 1, "body": "x"}, b"{", b""):
        assert api.post("/v1/tasks", body).status in (400, 422)
    assert api.get("/v1/tasks").json["items"] == []


def test_waits_that_were_named_are_not_cut_by_the_default(api: Api, database: Database) -> None:
    spec = stored(database, api.submit(backoff={"type": "schedule", "schedule": ["1h", "3h"], "jitter": "none"})).spec
    assert isinstance(spec.backoff, Backoff)
    assert spec.backoff.type is BackoffType.SCHEDULE
    assert spec.backoff.delay(2, jitter=0) == timedelta(hours=3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"targetUrl": "https://target.example/", "timeout": NaN}',
        b'{"targetUrl": "https://target.example/", "timeout": 1, "timeout": 2}',
        b'{"targetUrl": "https://target.example/", "headers": {"A": "1", "A": "2"}}',
        b'{"targetUrl": "https://target.example/", "backoff": {"max": 1, "max": 2}}',
        b'{"targetUrl": "https://target.example/\xff"}',
        b'{"targetUrl": "https://target.example/", "payload": ' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"targetUrl": "https://target.example/", "payload": "\xc3"}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_unreadable_bodies_are_a_400(front: Api, body: bytes) -> None:
    assert front.post("/v1/tasks", body).status == 400


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"x"'])
def test_a_body_that_is_no_object_is_a_422(front: Api, body: bytes) -> None:
    assert front.post("/v1/tasks", body).faults == {"": "expected an object"}


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonx"],
)
def test_another_media_type_is_a_415(front: Api, media_type: str) -> None:
    body = json.dumps({"targetUrl": TARGET})
    assert front.call("POST", "/v1/tasks", data=body, content_type=media_type).status == 415


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_json_may_name_its_charset(api: Api, media_type: str) -> None:
    body = json.dumps({"targetUrl": TARGET})
    assert api.call("POST", "/v1/tasks", data=body, content_type=media_type).status == 202


def test_a_compressed_body_is_a_415(front: Api) -> None:
    assert front.post("/v1/tasks", b"{}", headers={"Content-Encoding": "gzip"}).status == 415


def test_the_largest_body_is_accepted_and_a_byte_more_is_a_413(api: Api) -> None:
    empty = json.dumps({"targetUrl": TARGET, "payload": ""}).encode()
    largest = empty[:-2] + b"x" * (65_536 - len(empty)) + b'"}'
    assert len(largest) == 65_536
    assert api.post("/v1/tasks", largest).status == 202
    assert api.post("/v1/tasks", largest + b" ").status == 413


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣"])
def test_a_length_that_is_no_number_is_a_400(front: Api, length: str) -> None:
    answer = front.call(
        "POST",
        "/v1/tasks",
        data=b"{}",
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": length},
    )
    assert answer.status == 400


def test_a_body_that_ends_early_is_a_400(front: Api) -> None:
    body = json.dumps({"targetUrl": TARGET})
    over = {"CONTENT_LENGTH": str(len(body) + 1)}
    assert (
        front.call("POST", "/v1/tasks", data=body, content_type="application/json", environ_overrides=over).status
        == 400
    )
