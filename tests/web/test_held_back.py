"""A due task that waits says which limit it waits for, as the claim would find it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from taskqueue.core.breaker import Mark
from taskqueue.store import origins
from taskqueue.store.database import Database
from tests.support.builders import claim_all
from tests.web.contract import Api, Json


def told_of(api: Api, task: Json) -> tuple[Json, list[str]]:
    answer = api.get(f"/v1/tasks/{task['id']}/explain")
    assert answer.status == 200, answer.content
    return answer.json, [blocker["kind"] for blocker in answer.json["blockedBy"]]


def put(api: Api, path: str, **fields: Any) -> None:
    answer = api.put(path, fields)
    assert answer.status == 200, answer.content


def test_a_paused_queue(api: Api, database: Database) -> None:
    put(api, "/v1/queues/mail", paused=True)
    task = api.submit(queue="mail")
    told, kinds = told_of(api, task)
    assert (claim_all(database), kinds) == ([], ["queuePaused"])
    assert told["why"].startswith("It is due, but the queue mail is paused")
    assert api.post("/v1/queues/mail/resume").status == 200
    assert told_of(api, task)[1] == []
    assert len(claim_all(database)) == 1


def test_a_full_queue_and_a_full_flow_key(api: Api, database: Database) -> None:
    put(api, "/v1/queues/mail", concurrency=1)
    put(api, "/v1/flow-keys/eu", concurrency=1)
    first, second = (api.submit(queue="mail", flowKey="eu") for _ in range(2))
    assert told_of(api, second)[1] == []
    (running,) = claim_all(database)
    waiting = second if str(running.id) == first["id"] else first
    assert told_of(api, waiting)[1] == ["queueConcurrency", "flowKeyConcurrency"]


def test_a_rate_that_is_used_up(api: Api, database: Database) -> None:
    put(api, "/v1/queues/mail", rate={"limit": 1, "period": "1h"})
    tasks = [api.submit(queue="mail") for _ in range(2)]
    (running,) = claim_all(database)
    (waiting,) = (task for task in tasks if task["id"] != str(running.id))
    told, kinds = told_of(api, waiting)
    assert kinds == ["queueRate"]
    until = datetime.fromisoformat(told["blockedBy"][0]["until"])
    assert 3590 < (until - datetime.now(UTC)).total_seconds() <= 3601


def test_an_origin_that_is_a_flow_key_of_its_own(api: Api, database: Database) -> None:
    task = api.submit(targetUrl="https://one.example/work")
    put(api, f"/v1/flow-keys/{quote('https://one.example', safe='')}", paused=True)
    assert claim_all(database) == []
    assert told_of(api, task)[1] == ["flowKeyPaused"]


def test_the_breaker_of_its_host(api: Api, database: Database) -> None:
    task = api.submit(targetUrl="https://one.example/work")
    with database.begin() as conn:
        failed = [Mark(database.now(conn), failed=True)] * 30
        origins.report(conn, database, {("default", "https://one.example:443"): failed}, jitter=0.0)
    told, kinds = told_of(api, task)
    assert (claim_all(database), kinds) == ([], ["breaker"])
    assert "uses up no attempt" in told["why"]
    assert told["blockedBy"][0]["until"] is not None
