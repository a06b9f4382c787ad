"""Flow keys over HTTP: the same limits wherever a key is used, and keys that are URLs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from taskqueue.store import operations
from taskqueue.store.database import Database
from tests.support.builders import claim_one, submit_one
from tests.web.contract import Api, Json

ORIGIN = "https://target.example:443"
PATH = f"/v1/flow-keys/{quote(ORIGIN, safe='')}"


def define(api: Api, path: str = PATH, **fields: Any) -> Json:
    answer = api.put(path, fields)
    assert answer.status == 200, answer.content
    found: Json = answer.json
    return found


def test_a_flow_key_is_what_was_said_of_it(api: Api) -> None:
    shown = define(api, concurrency=5, rate={"limit": 10, "period": "1s"})
    assert shown == api.get(PATH).json
    assert (shown["key"], shown["concurrency"], shown["paused"]) == (ORIGIN, 5, False)
    assert shown["rate"] == {"limit": 10, "period": 1.0, "burst": 10}
    assert shown["links"]["self"] == PATH
    assert define(api)["concurrency"] is None


@pytest.mark.parametrize("key", [ORIGIN, "smtp", "/", "a//b/", "100%", "a?b#c", "a/pauses", "k" * 256])
def test_a_key_may_be_written_with_its_slashes_escaped_or_not(api: Api, key: str) -> None:
    define(api, f"/v1/flow-keys/{quote(key, safe='')}", concurrency=5)
    for safe in ("", "/:"):
        shown = api.get(f"/v1/flow-keys/{quote(key, safe=safe)}").json
        assert (shown["key"], shown["concurrency"]) == (key, 5)
        paused = api.post(f"/v1/flow-keys/{quote(key, safe=safe)}/pause").json
        assert (paused["key"], paused["paused"]) == (key, True)
    assert [item["key"] for item in api.get("/v1/flow-keys").json["items"]] == [key]
    assert api.delete(f"/v1/flow-keys/{quote(key, safe='/:')}").status == 204


@pytest.mark.parametrize("key", ["a%20b", "k" * 257, "caf%C3%A9", "%00"])
def test_a_key_that_no_task_can_have_is_refused_in_words(api: Api, key: str) -> None:
    answer = api.get(f"/v1/flow-keys/{key}")
    assert answer.status == 422
    assert "1 to 256 visible ASCII characters" in answer.json["detail"]


def test_a_flow_key_is_there_while_a_task_lives_with_it(api: Api, database: Database) -> None:
    assert api.get(PATH).status == 404
    assert api.post(f"{PATH}/pause").status == 404
    api.submit()
    api.submit(flowKey="smtp", queue="mail")
    shown = api.get(PATH).json
    assert (shown["stats"]["depth"]["queued"], shown["createdAt"]) == (1, None)
    assert api.get("/v1/flow-keys/smtp").json["stats"]["depth"]["queued"] == 1
    assert api.get("/v1/flow-keys").json["items"] == []
    submit_one(database, flow_key="theirs", project="other")
    assert api.get("/v1/flow-keys/theirs").status == 404


def test_a_paused_flow_key_starts_nothing_until_it_is_resumed(api: Api, database: Database) -> None:
    task = api.submit(queue="mail")
    assert api.post(f"{PATH}/resume").json["createdAt"] is None
    assert api.post(f"{PATH}/pause").json["paused"] is True
    other = api.submit(flowKey="smtp")
    assert str(claim_one(database).id) == other["id"]
    assert api.post(f"{PATH}/resume").json["paused"] is False
    assert str(claim_one(database).id) == task["id"]


def test_a_purge_is_an_operation_that_cancels_what_waits(api: Api, database: Database) -> None:
    assert api.post(f"{PATH}/purge").status == 404
    tasks = [api.submit(queue=name) for name in ("mail", "bills")]
    answer = api.post(f"{PATH}/purge", {})
    assert answer.status == 202
    assert (answer.json["conditions"], answer.json["matched"]) == ({"flowKey": ORIGIN}, 2)
    with database.begin() as conn:
        operations.advance(conn, database)
    assert api.get(answer.headers["location"]).json["done"] == 2
    assert {api.get(f"/v1/tasks/{task['id']}").json["status"] for task in tasks} == {"cancelled"}


def test_what_is_said_of_a_flow_key_can_be_forgotten(api: Api) -> None:
    define(api)
    assert api.delete(PATH).status == 204
    assert api.delete(PATH).status == 404


@pytest.mark.parametrize("name", ["onDeath", "defaults", "key", "burst"])
def test_what_only_queues_have_is_refused(api: Api, name: str) -> None:
    answer = api.put(PATH, {name: {}})
    assert (answer.status, list(answer.faults)) == (422, [f"/{name}"])
