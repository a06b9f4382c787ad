"""Follow-ups: validated whole when the first task is submitted, and kept byte for byte until they are due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from taskqueue.core.policy import Policy
from taskqueue.core.task import FollowUp, TaskId, TaskSpec
from taskqueue.store.database import Database
from taskqueue.web.new_tasks import MAX_NESTED
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, look_up, settle_one
from tests.web.contract import Answer, Api, Json

TARGET = "https://target.example/work"
UNDO = "https://undo.example/"
ODD_PAYLOADS = [
    b"null",
    b'{ "b":1.0,  "a":1e400,"c":123456789012345678901234567890 }',
    b'{"twice":1,"twice":2}',
    b'"\\u0000 \\ud800 k\xc3\xa4se"',
]


def stored(database: Database, answer: Answer) -> TaskSpec:
    return look_up(database, TaskId(UUID(answer.json["id"]))).spec


def refused(front: Api, **fields: Any) -> dict[str, str]:
    answer = front.post("/v1/tasks", {"targetUrl": TARGET, **fields})
    assert answer.status == 422, answer.content
    return answer.faults


def nested(depth: int, last: Json | None = None) -> Json:
    """Fields whose ``onFailure`` holds another one, and so on, ``depth`` of them."""
    fields: Json = last or {}
    for _ in range(depth):
        fields = {"onFailure": {"task": {"targetUrl": UNDO, **fields}}}
    return fields


def raw(payload: bytes, *, follow_ups: int) -> bytes:
    """A request whose innermost follow-up carries ``payload``."""
    text = b'{"targetUrl":"https://undo.example/","payload": ' + payload + b" }"
    for number in range(follow_ups):
        name = (b"onFailure", b"onSuccess")[number % 2]
        text = b'{ "targetUrl":"https://undo.example/", "%b" : {"task":%b}}' % (name, text)
    return text


def innermost(spec: TaskSpec) -> TaskSpec:
    follow_up: FollowUp | None = spec.on_failure or spec.on_success
    return spec if follow_up is None else innermost(follow_up.task.spec)


@pytest.mark.parametrize("follow_ups", [1, MAX_NESTED])
@pytest.mark.parametrize("payload", ODD_PAYLOADS, ids=range(len(ODD_PAYLOADS)))
def test_a_payload_of_a_follow_up_is_stored_and_shown_byte_for_byte(
    api: Api, database: Database, payload: bytes, follow_ups: int
) -> None:
    answer = api.post("/v1/tasks", raw(payload, follow_ups=follow_ups))
    assert answer.status == 202
    assert innermost(stored(database, answer)).body == payload
    assert b'"payload":' + payload in answer.content
    assert b'"payload":' + payload in api.get(answer.headers["location"]).content
    assert b'"payload"' not in api.call("GET", "/v1/tasks").content


def test_a_payload_of_a_follow_up_in_a_batch_is_kept_byte_for_byte(api: Api, database: Database) -> None:
    item = raw(ODD_PAYLOADS[1], follow_ups=2)
    answer = api.post("/v1/tasks/batch", b'{"tasks":[%b , %b]}' % (item, item))
    for task in answer.json["tasks"]:
        spec = look_up(database, TaskId(UUID(task["id"]))).spec
        assert innermost(spec).body == ODD_PAYLOADS[1]


def test_every_field_of_a_follow_up_reaches_the_store(api: Api, database: Database) -> None:
    template = {
        "callbackUrl": UNDO,
        "method": "PUT",
        "headers": {"X-Api-Key": "s3cret"},
        "body": "a,b",
        "contentType": "text/csv",
        "webhookUrl": "https://caller.example/hook",
        "retries": 7,
        "timeout": "1m",
        "retryPolicy": "any-error",
        "delay": "10m",
        "expiresIn": "2h",
        "queue": "undo",
        "priority": 9,
        "flowKey": "undoing",
        "labels": ["undo"],
        "metadata": {"order": 1.0},
        "onSuccess": {"task": {"targetUrl": TARGET}},
    }
    answer = api.post("/v1/tasks", {"targetUrl": TARGET, "onFailure": {"match": ["partial:likely"], "task": template}})
    follow_up = stored(database, answer).on_failure
    assert follow_up is not None
    spec = follow_up.task.spec
    assert follow_up.match == ("partial:likely",)
    assert (spec.target_url, spec.method, spec.body, spec.content_type) == (UNDO, "PUT", b"a,b", "text/csv")
    assert (spec.headers, spec.retries, spec.timeout) == ((("X-Api-Key", "s3cret"),), 7, timedelta(minutes=1))
    assert (spec.policy, spec.queue, spec.metadata) == (Policy(preset="any-error"), "undo", b'{"order": 1.0}')
    assert (spec.priority, spec.flow_key) == (9, "undoing")
    assert (follow_up.task.delay, follow_up.task.expires_in) == (timedelta(minutes=10), timedelta(hours=2))
    assert spec.on_success is not None
    shown = answer.json["onFailure"]["task"]
    assert shown["headers"] == {"X-Api-Key": "***"}
    assert (shown["body"], shown["metadata"], shown["delay"]) == ("a,b", {"order": 1.0}, 600.0)
    assert shown["onSuccess"]["task"]["targetUrl"] == TARGET


def test_a_follow_up_without_patterns_follows_every_death(api: Api, database: Database) -> None:
    answer = api.post("/v1/tasks", {"targetUrl": TARGET, **nested(1)})
    follow_up = stored(database, answer).on_failure
    assert follow_up is not None
    assert follow_up.match == ()


@pytest.mark.parametrize("name", ["onFailure", "onSuccess"])
@pytest.mark.parametrize(
    ("template", "pointer"),
    [
        ({"targetUrl": "http://10.0.0.1/"}, "/targetUrl"),
        ({"callbackUrl": "http://10.0.0.1/"}, "/callbackUrl"),
        ({"targetUrl": UNDO, "timeout": 0}, "/timeout"),
        ({"targetUrl": UNDO, "retires": 1}, "/retires"),
        ({"targetUrl": UNDO, "payload": 1, "body": "x"}, "/body"),
        ({"targetUrl": UNDO, "headers": {"Host": "x"}}, "/headers/Host"),
        ({"targetUrl": UNDO, "webhookUrl": "http://10.0.0.1/"}, "/webhookUrl"),
        ({"targetUrl": UNDO, "retryPolicy": [{"match": ["bogus"]}]}, "/retryPolicy/0/match/0"),
        ({"targetUrl": UNDO, "reconcile": {"url": "http://10.0.0.1/"}}, "/reconcile/url"),
        ({"targetUrl": UNDO, "metadata": [1]}, "/metadata"),
        ({"targetUrl": UNDO, "delay": 1, "runAt": "2030-01-01T00:00:00Z"}, "/runAt"),
        ({"targetUrl": UNDO, "idempotencyKey": "k"}, "/idempotencyKey"),
        ({"targetUrl": UNDO, "idempotencyTtl": "1h"}, "/idempotencyTtl"),
        ({"targetUrl": UNDO, "priority": 10}, "/priority"),
        ({"targetUrl": UNDO, "redact": ["body"]}, "/redact"),
        ({"queue": "undo"}, "/targetUrl"),
        ({"targetUrl": UNDO, "onFailure": {"task": {"targetUrl": "x"}}}, "/onFailure/task/targetUrl"),
    ],
)
def test_what_is_refused_in_a_task_is_refused_in_one_that_is_to_follow(
    front: Api, name: str, template: Json, pointer: str
) -> None:
    faults = refused(front, **{name: {"task": template}}).keys()
    assert f"/{name}/task{pointer}" in faults
    assert all(fault.startswith(f"/{name}/task/") for fault in faults)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"onFailure": {}}, "/onFailure/task"),
        ({"onFailure": {"targetUrl": UNDO}}, "/onFailure/targetUrl"),
        ({"onFailure": None}, "/onFailure"),
        ({"onFailure": {"task": {"targetUrl": UNDO}, "match": []}}, "/onFailure/match"),
        ({"onFailure": {"task": {"targetUrl": UNDO}, "match": ["*", "bogus"]}}, "/onFailure/match/1"),
        ({"onFailure": {"task": {"targetUrl": UNDO}, "match": ["reason:tired"]}}, "/onFailure/match/0"),
        ({"onSuccess": {"task": {"targetUrl": UNDO}, "match": ["*"]}}, "/onSuccess/match"),
    ],
)
def test_what_is_no_follow_up_is_refused(front: Api, fields: Json, pointer: str) -> None:
    assert pointer in refused(front, **fields)


@pytest.mark.parametrize("pattern", ["reason:exhausted", "aborted", "target_forbidden", "worker_lost", "status:410"])
def test_any_death_can_be_followed(api: Api, pattern: str) -> None:
    shown = api.submit(onFailure={"match": [pattern], "task": {"targetUrl": UNDO}})
    assert shown["onFailure"]["match"] == [pattern]


def test_follow_ups_are_nested_five_deep_and_no_deeper(api: Api, front: Api) -> None:
    assert api.submit(**nested(MAX_NESTED))["status"] == "queued"
    ((pointer, detail),) = refused(front, **nested(MAX_NESTED + 2)).items()
    assert pointer == "/onFailure/task" * MAX_NESTED + "/onFailure"
    assert detail == "follow-ups are nested at most 5 deep; let the last of them submit the next"


def test_the_limits_of_a_body_hold_for_what_follows(front: Api) -> None:
    for payload in (b'"\xff"', b"[" * 60 + b"]" * 60, b"[1"):
        assert front.post("/v1/tasks", raw(payload, follow_ups=2)).status == 400
    twice = b'{"targetUrl":"https://a.example/","onFailure":{"task":{"targetUrl":"https://a.example/","retries":1,"retries":2}}}'
    assert front.post("/v1/tasks", twice).status == 400


def test_a_follow_up_that_would_come_too_late_is_refused(front: Api) -> None:
    ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    faults = refused(front, **nested(2, {"expiresAt": ago}))
    assert faults.keys() == {"/onFailure/task/onFailure/task/expiresAt"}
    assert "this time has passed" in next(iter(faults.values()))


def test_a_repeat_under_its_key_is_known_even_when_what_follows_comes_too_late_by_now(
    api: Api, database: Database
) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=400)
    body = {"targetUrl": TARGET, "idempotencyKey": "once", **nested(1, {"expiresAt": soon.isoformat()})}
    first = api.post("/v1/tasks", body)
    assert first.status == 202
    time.sleep(0.5)
    again = api.post("/v1/tasks", body)
    assert (again.status, again.json["id"]) == (202, first.json["id"])


def test_no_credential_of_a_follow_up_is_ever_shown(api: Api) -> None:
    task = api.submit(**nested(2, {"headers": {"Authorization": "Bearer s3cret"}}))
    for path in ("/v1/tasks", f"/v1/tasks/{task['id']}"):
        assert b"s3cret" not in api.get(path).content


def test_a_compensation_is_submitted_when_the_task_dies_and_names_it(api: Api, database: Database) -> None:
    task = api.submit(payload={"order": 7}, onFailure={"task": {"targetUrl": UNDO}})
    settle_one(database, claim_one(database), answered(400))
    (follow_up,) = (item for item in api.get("/v1/tasks").json["items"] if item["id"] != task["id"])
    assert (follow_up["targetUrl"], follow_up["parentId"], follow_up["rootId"]) == (UNDO, task["id"], task["id"])
    told = api.get(f"/v1/tasks/{follow_up['id']}").json["payload"]
    assert (told["task"]["id"], told["task"]["status"], told["payload"]) == (task["id"], "dead", {"order": 7})
    assert [attempt["class"] for attempt in told["attempts"]] == ["bad_request"]
