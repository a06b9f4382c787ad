"""Looking at tasks, finding them, and steering them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from taskqueue.core.task import Task, TaskId
from taskqueue.store.database import Database
from tests.support.builders import answer as answered
from tests.support.builders import claim_all, claim_one, settle_one, submit_one
from tests.support.clock import Clock
from tests.web.contract import Api, Json


def listed(api: Api, **conditions: object) -> list[str]:
    answer = api.get("/v1/tasks", **conditions)
    assert answer.status == 200, answer.content
    return [item["id"] for item in answer.json["items"]]


def run(database: Database, status: int = 200) -> Task:
    """Run the attempt that is due first, and have the target answer ``status``."""
    task = claim_one(database)
    assert settle_one(database, task, answered(status, headers=(("x-api-key", "s3cret"),)))
    return task


@pytest.mark.parametrize("path", ["", "/attempts", "/webhooks"])
def test_an_unknown_task_is_a_404(api: Api, path: str) -> None:
    assert api.get(f"/v1/tasks/{uuid.uuid4()}{path}").status == 404


@pytest.mark.parametrize("verb", ["cancel", "run-now"])
def test_an_unknown_task_cannot_be_steered(api: Api, verb: str) -> None:
    assert api.post(f"/v1/tasks/{uuid.uuid4()}/{verb}").status == 404


@pytest.mark.parametrize("id_", ["1", "x" * 36, "{01a1fd2b-7e4c-73b7-9951-e4461c9bc5ed}", "%00", "urn:uuid:1"])
def test_what_is_no_id_is_a_404(front: Api, id_: str) -> None:
    assert front.get(f"/v1/tasks/{id_}").status == 404


def test_a_task_of_another_project_is_a_404(api: Api, database: Database) -> None:
    foreign = submit_one(database, project="other")
    for path in ("", "/attempts", "/webhooks"):
        assert api.get(f"/v1/tasks/{foreign.id}{path}").status == 404
    for verb in ("cancel", "run-now"):
        assert api.post(f"/v1/tasks/{foreign.id}/{verb}").status == 404
    assert listed(api) == []


def test_a_task_shows_how_it_stands(api: Api, database: Database) -> None:
    path = f"/v1/tasks/{api.submit(payload=1)['id']}"
    task = claim_one(database)
    assert (running := api.get(path).json)["status"] == "running"
    assert running["attempt"] == 1
    settle_one(database, task, answered(503))
    assert (waiting := api.get(path).json)["status"] == "retrying"
    assert waiting["error"]["class"] == "unavailable"
    assert waiting["nextAttemptAt"] is not None


def test_a_task_that_ended_shows_the_answer_without_its_secrets(api: Api, database: Database) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    run(database)
    ended = api.get(path).json
    assert (ended["status"], ended["result"]["statusCode"], ended["result"]["body"]) == ("succeeded", 200, "ok")
    assert ended["result"]["headers"] == {"x-api-key": "***"}


def test_attempts_are_listed_with_their_generation(api: Api, database: Database, clock: Clock) -> None:
    path = f"/v1/tasks/{api.submit(backoff={'type': 'fixed', 'initial': 1})['id']}"
    assert api.get(f"{path}/attempts").json == {"items": []}
    run(database, 500)
    clock.advance(minutes=1)
    run(database, 400)
    (letter,) = api.get("/v1/dead-letters").json["items"]
    api.post(f"/v1/dead-letters/{letter['id']}/redrive")
    run(database)
    attempts = api.get(f"{path}/attempts").json["items"]
    assert [(item["generation"], item["number"], item["class"]) for item in attempts] == [
        (1, 1, "server_error"),
        (1, 2, "bad_request"),
        (2, 1, "success"),
    ]


def test_webhooks_of_a_task_are_tasks_themselves(api: Api, database: Database) -> None:
    task = api.submit(webhookUrl="https://caller.example/hook")
    path = f"/v1/tasks/{task['id']}"
    assert task["links"]["webhooks"] == f"{path}/webhooks"
    assert api.get(f"{path}/webhooks").json == {"items": []}
    run(database)
    (webhook,) = api.get(f"{path}/webhooks").json["items"]
    assert (webhook["kind"], webhook["targetUrl"]) == ("webhook", "https://caller.example/hook")
    assert api.get(f"/v1/tasks/{webhook['id']}").json["payload"]["type"] == "task.succeeded"
    assert listed(api) == listed(api, kind="task") == [task["id"]]
    assert listed(api, kind="webhook") == listed(api, kind="webhook", status="queued") == [webhook["id"]]
    assert "kind=webhook" in api.get("/v1/tasks", queue=webhook["queue"]).faults["/queue"]


def test_a_list_leaves_payloads_out(api: Api) -> None:
    api.submit(payload={"large": 1}, metadata={"order": 7})
    (item,) = api.get("/v1/tasks").json["items"]
    assert "payload" not in item
    assert item["metadata"] == {"order": 7}


def test_pages_follow_each_other_newest_first(api: Api) -> None:
    submitted = [api.submit()["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: Json = {}
    while True:
        page = api.get("/v1/tasks", limit=3, **cursor).json
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == submitted[::-1]


@pytest.mark.parametrize("cursor", ["x", "", "AAAA", "ä", "AaH9K35Mc7eZUeRGHJvF7W90aGVy"])
def test_a_cursor_that_is_not_ours_is_refused(api: Api, cursor: str) -> None:
    answer = api.get("/v1/tasks", cursor=cursor)
    assert answer.status == 422
    assert answer.faults.keys() == {"/cursor"}


def test_tasks_are_found_by_what_they_are(api: Api, database: Database, clock: Clock) -> None:
    dead = api.submit(queue="mail", labels=["blue"])["id"]
    run(database, 400)
    before = api.get(f"/v1/tasks/{dead}").json["createdAt"]
    clock.advance(minutes=1)
    later = api.submit(targetUrl="https://other.example/", labels=["7"], delay="1h")["id"]
    running = api.submit()["id"]
    claim_all(database)
    for conditions, found in (
        ({"status": "dead"}, [dead]),
        ({"status": "scheduled"}, [later]),
        ({"status": "running"}, [running]),
        ({"queue": "mail"}, [dead]),
        ({"label": "blue"}, [dead]),
        ({"label": "7"}, [later]),
        ({"outcome": "bad_request"}, [dead]),
        ({"targetHost": "other.example"}, [later]),
        ({"createdAfter": before, "status": "running"}, [running]),
        ({"createdBefore": "2020-01-01T00:00:00Z"}, []),
        ({"queue": "mail", "label": "7"}, []),
    ):
        assert listed(api, **conditions) == found, conditions


@pytest.mark.parametrize("offset", [timedelta(hours=23, minutes=59), -timedelta(hours=23, minutes=59)])
def test_a_time_may_be_told_with_any_offset(api: Api, offset: timedelta) -> None:
    day = timedelta(days=1)
    run_at = (datetime.now(UTC) + 2 * day).replace(microsecond=0)
    told = run_at.astimezone(timezone(offset))
    task = api.submit(runAt=told.isoformat(), expiresAt=(told + day).isoformat())
    assert datetime.fromisoformat(task["runAt"]) == run_at
    assert datetime.fromisoformat(task["expiresAt"]) == run_at + day
    before, after = ((told + days).isoformat() for days in (-9 * day, 9 * day))
    assert listed(api, createdAfter=before, createdBefore=after) == [task["id"]]
    assert api.get("/v1/dead-letters", after=before, before=after).json["items"] == []
    answer = api.post("/v1/dead-letters/redrive", {"after": before, "before": after, "dryRun": True})
    assert answer.status in (200, 202)


def test_cancelling_ends_a_task_and_a_second_time_is_a_conflict(api: Api) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    assert api.post(f"{path}/cancel").json["status"] == "cancelled"
    answer = api.post(f"{path}/cancel", {})
    assert answer.status == 409
    assert "cancelled" in answer.json["detail"]


def test_a_running_task_is_cancelled_at_once(api: Api, database: Database) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    task = claim_one(database)
    assert api.post(f"{path}/cancel").json["status"] == "cancelled"
    assert not settle_one(database, task, answered(200))


def test_a_waiting_task_is_pulled_forward(api: Api, database: Database) -> None:
    path = f"/v1/tasks/{api.submit(delay='1h')['id']}"
    assert claim_all(database) == []
    assert api.post(f"{path}/run-now").status == 200
    assert [task.id for task in claim_all(database)] == [TaskId(UUID(path.rpartition("/")[2]))]
    assert api.post(f"{path}/run-now").status == 409


def test_a_task_is_not_pulled_before_its_turn(api: Api) -> None:
    first, second = (api.submit(orderingKey="a", delay="1h")["id"] for _ in range(2))
    answer = api.post(f"/v1/tasks/{second}/run-now")
    assert answer.status == 409
    assert first in answer.json["detail"]
    assert api.post(f"/v1/tasks/{first}/run-now").status == 200


@pytest.mark.parametrize("verb", ["cancel", "run-now"])
def test_steering_takes_no_fields(api: Api, verb: str) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    assert api.post(f"{path}/{verb}", {"reason": "x"}).faults == {
        "/reason": "unknown field; there are none here, leave it out"
    }


def test_a_parameter_that_is_not_there_is_refused(api: Api) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    for query in (f"{path}?waits=1", f"{path}/attempts?limit=1", "/v1/tasks?state=dead"):
        assert api.get(query).status == 422
    assert api.post(f"{path}/cancel?force=true").status == 422
    assert api.get("/healthz?from=balancer").status == 200
