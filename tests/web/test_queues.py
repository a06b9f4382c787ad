"""Queues over HTTP: defined, looked at, paused, purged, forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.store import operations
from taskqueue.store.database import Database
from taskqueue.web.defaults import MAX_DEFAULTS
from tests.support.builders import claim_one, submit_one
from tests.web.contract import Api, Json

MAIL = "/v1/queues/mail"
NO_STATS = {
    "depth": {"scheduled": 0, "queued": 0, "running": 0, "retrying": 0, "held": 0, "capped": False},
    "inFlight": 0,
    "oldestReadyAge": None,
    "arrivalsPerSecond": 0.0,
    "completionsPerSecond": 0.0,
    "blockedKeys": 0,
}


def define(api: Api, name: str = "mail", **fields: Any) -> Json:
    answer = api.put(f"/v1/queues/{name}", fields)
    assert answer.status == 200, answer.content
    found: Json = answer.json
    return found


def refused(api: Api, **fields: Any) -> dict[str, str]:
    answer = api.put(MAIL, fields)
    assert answer.status == 422, answer.content
    return answer.faults


def test_a_queue_is_what_was_said_of_it(api: Api) -> None:
    shown = define(
        api,
        concurrency=20,
        rate={"limit": 100, "period": "1m", "burst": 10},
        paused=True,
        onDeath="skip",
        defaults={"retries": 5},
    )
    assert shown == api.get(MAIL).json
    assert (shown["name"], shown["paused"], shown["concurrency"], shown["onDeath"]) == ("mail", True, 20, "skip")
    assert shown["rate"] == {"limit": 100, "period": 60.0, "burst": 10}
    assert shown["defaults"] == {"retries": 5}
    assert shown["stats"] == NO_STATS
    assert shown["createdAt"] == shown["updatedAt"]


def test_what_a_put_leaves_out_is_gone(api: Api) -> None:
    first = define(api, concurrency=20, rate={"limit": 1, "period": 1}, paused=True, defaults={"retries": 5})
    again = define(api)
    assert (again["concurrency"], again["rate"], again["paused"], again["defaults"]) == (None, None, False, {})
    assert again["createdAt"] == first["createdAt"]


def test_the_burst_is_the_limit_unless_it_is_given(api: Api) -> None:
    assert define(api, rate={"limit": 7, "period": "10s"})["rate"] == {"limit": 7, "period": 10.0, "burst": 7}


@pytest.mark.parametrize("on_death", ["skip", "block", "park"])
def test_a_queue_says_what_a_death_means(api: Api, on_death: str) -> None:
    assert define(api, onDeath=on_death)["onDeath"] == on_death


def test_a_queue_is_there_once_a_task_names_it(api: Api) -> None:
    assert api.get(MAIL).status == 404
    api.submit(queue="mail", delay="1h")
    api.submit(queue="mail")
    shown = api.get(MAIL).json
    assert (shown["concurrency"], shown["defaults"], shown["createdAt"]) == (None, {}, None)
    assert (shown["stats"]["depth"]["scheduled"], shown["stats"]["depth"]["queued"]) == (1, 1)
    assert shown["stats"]["oldestReadyAge"] >= 0
    assert shown["stats"]["arrivalsPerSecond"] == pytest.approx(2 / 60, abs=0.001)
    assert api.get("/v1/queues/default").status == 200


def test_a_queue_of_another_project_is_not_there(api: Api, database: Database) -> None:
    submit_one(database, queue="mail", project="other")
    assert api.get(MAIL).status == 404
    assert api.get("/v1/queues").json["items"] == []


def test_queues_are_listed_page_by_page(api: Api) -> None:
    for name in ("c", "a"):
        define(api, name)
    api.submit(queue="b")
    first = api.get("/v1/queues", limit=2).json
    assert [queue["name"] for queue in first["items"]] == ["a", "b"]
    rest = api.get("/v1/queues", limit=2, cursor=first["nextCursor"]).json
    assert ([queue["name"] for queue in rest["items"]], rest["nextCursor"]) == (["c"], None)
    assert rest["items"][0] == api.get("/v1/queues/c").json


def test_a_paused_queue_starts_nothing_until_it_is_resumed(api: Api, database: Database) -> None:
    define(api, concurrency=5)
    task = api.submit(queue="mail")
    for _ in range(2):
        paused = api.post(f"{MAIL}/pause")
        assert (paused.status, paused.json["paused"], paused.json["concurrency"]) == (200, True, 5)
    other = api.submit(queue="other")
    assert str(claim_one(database).id) == other["id"]
    for _ in range(2):
        assert api.post(f"{MAIL}/resume", {}).json["paused"] is False
    assert str(claim_one(database).id) == task["id"]


def test_a_queue_that_nobody_defined_can_be_paused_once_it_is_known(api: Api) -> None:
    assert api.post(f"{MAIL}/pause").status == 404
    api.submit(queue="mail")
    assert api.post(f"{MAIL}/resume").json["createdAt"] is None
    assert api.post(f"{MAIL}/pause").json["paused"] is True


def test_a_purge_is_an_operation_that_cancels_what_waits(api: Api, database: Database) -> None:
    assert api.post(f"{MAIL}/purge").status == 404
    task = api.submit(queue="mail")
    answer = api.post(f"{MAIL}/purge")
    assert answer.status == 202
    assert (answer.json["verb"], answer.json["conditions"], answer.json["matched"]) == ("cancel", {"queue": "mail"}, 1)
    with database.begin() as conn:
        operations.advance(conn, database)
    done = api.get(answer.headers["location"]).json
    assert (done["status"], done["done"]) == ("finished", 1)
    assert api.get(f"/v1/tasks/{task['id']}").json["status"] == "cancelled"


def test_a_queue_that_is_forgotten_keeps_its_tasks(api: Api) -> None:
    define(api, defaults={"retries": 5})
    task = api.submit(queue="mail")
    assert api.delete(MAIL).status == 204
    assert api.delete(MAIL).status == 404
    assert api.get(MAIL).json["defaults"] == {}
    assert api.get(f"/v1/tasks/{task['id']}").json["retries"] == 5
    assert api.submit(queue="mail")["retries"] == 3


@pytest.mark.parametrize("name", ["-mail", "$webhooks", "a%20b", "a%2Fb", "n" * 65, "caf%C3%A9"])
def test_a_name_that_no_queue_can_have_is_refused_in_words(api: Api, name: str) -> None:
    for answer in (
        api.get(f"/v1/queues/{name}"),
        api.put(f"/v1/queues/{name}", {}),
        api.post(f"/v1/queues/{name}/pause"),
    ):
        assert answer.status == 422
        assert "a name of 1 to 64 letters" in answer.json["detail"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"concurrency": 0}, "/concurrency"),
        ({"concurrency": None}, "/concurrency"),
        ({"concurrency": True}, "/concurrency"),
        ({"rate": {"limit": 0, "period": 1}}, "/rate/limit"),
        ({"rate": {"limit": 1}}, "/rate/period"),
        ({"rate": {"limit": 1, "period": 0}}, "/rate/period"),
        ({"rate": {"limit": 1, "period": 1, "burst": 0}}, "/rate/burst"),
        ({"rate": 5}, "/rate"),
        ({"paused": 1}, "/paused"),
        ({"onDeath": "panic"}, "/onDeath"),
        ({"concurency": 1}, "/concurency"),
        ({"stats": {}}, "/stats"),
        ({"defaults": []}, "/defaults"),
        ({"defaults": {"retires": 1}}, "/defaults/retires"),
        ({"defaults": {"retries": 101}}, "/defaults/retries"),
        ({"defaults": {"maxRetries": -1}}, "/defaults/maxRetries"),
        ({"defaults": {"queue": "mail"}}, "/defaults/queue"),
        ({"defaults": {"idempotencyKey": "k"}}, "/defaults/idempotencyKey"),
        ({"defaults": {"idempotencyTtl": "1h"}}, "/defaults/idempotencyTtl"),
        ({"defaults": {"redact": ["body"]}}, "/defaults/redact"),
        ({"defaults": {"targetUrl": "http://10.0.0.1/"}}, "/defaults/targetUrl"),
        ({"defaults": {"webhookUrl": "http://10.0.0.1/"}}, "/defaults/webhookUrl"),
        ({"defaults": {"headers": {"Host": "x"}}}, "/defaults/headers/Host"),
        ({"defaults": {"delay": 1, "runAt": "2030-01-01T00:00:00Z"}}, "/defaults/runAt"),
        ({"defaults": {"delay": "2h", "expiresIn": "1h"}}, "/defaults/expiresIn"),
        ({"defaults": {"expiresAt": "2020-01-01T00:00:00Z"}}, "/defaults/expiresAt"),
        ({"defaults": {"payload": 1, "body": "x"}}, "/defaults/body"),
        ({"defaults": {"method": "GET", "payload": 1}}, "/defaults/payload"),
        ({"defaults": {"backoff": {"type": "schedule"}}}, "/defaults/backoff/schedule"),
        ({"defaults": {"retryPolicy": "nope"}}, "/defaults/retryPolicy"),
        ({"defaults": {"reconcile": {"url": "http://10.0.0.1/"}}}, "/defaults/reconcile/url"),
        ({"defaults": {"verdict": [{"when": {}, "outcome": "fail"}]}}, "/defaults/verdict/0/when"),
        ({"defaults": {"onFailure": {"task": {"payload": 1}}}}, "/defaults/onFailure/task/targetUrl"),
        ({"defaults": {"payload": "x" * MAX_DEFAULTS}}, "/defaults"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(api: Api, fields: Json, pointer: str) -> None:
    assert list(refused(api, **fields)) == [pointer]
    assert api.get(MAIL).status == 404


def test_credentials_in_defaults_are_never_shown(api: Api, database: Database) -> None:
    secret = {"headers": {"Authorization": "Bearer s3cret", "X-Plain": "told"}}
    follow_up = {"task": {"targetUrl": "https://undo.example/", **secret}, "match": ["timeout"]}
    shown = define(
        api, defaults={**secret, "retries": 5, "onFailure": follow_up, "onSuccess": {"task": follow_up["task"]}}
    )
    for answer in (shown, api.get(MAIL).json, api.get("/v1/queues").json["items"][0]):
        assert "s3cret" not in str(answer)
        assert answer["defaults"]["headers"] == {"Authorization": "***", "X-Plain": "told"}
        assert answer["defaults"]["onFailure"]["match"] == ["timeout"]
    api.submit(queue="mail")
    assert ("Authorization", "Bearer s3cret") in claim_one(database).spec.headers


def test_defaults_are_shown_byte_for_byte(api: Api) -> None:
    defaults = b'{ "payload" : {"a":1.00, "a":"\\ud800"},  "headers":{"X-Plain":"told"} }'
    answer = api.put(MAIL, b'{"defaults": ' + defaults + b"}")
    assert b'"defaults":' + defaults in answer.content
