"""Defaults: what a queue gives to a submit, and what a caller's word keeps out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import fields as fields_of

from taskqueue.core.queue import Queue
from taskqueue.core.task import TaskId, TaskSpec
from taskqueue.store import queues
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.models import SubmitTask
from taskqueue.web.queue_models import TaskDefaults
from taskqueue.web.service import Service
from tests.support.builders import look_up
from tests.support.processes import wait_until
from tests.web.contract import Api, Json

TARGET = "https://default.example/"
ALL = {
    "targetUrl": TARGET,
    "method": "PUT",
    "headers": {"X-From": "queue", "X-More": "1"},
    "webhookUrl": "https://caller.example/hook",
    "webhookEvents": ["dead"],
    "retries": 7,
    "timeout": "1m",
    "backoff": {"type": "fixed", "initial": "5s"},
    "retryPolicy": "any-error",
    "verdict": [{"when": {"status": "2xx", "jsonPath": "$.error"}, "outcome": "fail"}],
    "reconcile": {"url": "https://ask.example/"},
    "onLost": "dead",
    "poisonAfter": 3,
    "onFailure": {"task": {"targetUrl": "https://undo.example/"}},
    "onSuccess": {"task": {"targetUrl": "https://next.example/"}},
    "delay": "10m",
    "expiresIn": "2h",
    "priority": 8,
    "orderingKey": "one",
    "flowKey": "smtp",
    "labels": ["mail"],
    "metadata": {"team": 1.0},
    "body": "a,b",
    "contentType": "text/csv",
}


def define(api: Api, name: str = "mail", **defaults: Any) -> None:
    answer = api.put(f"/v1/queues/{name}", {"defaults": defaults})
    assert answer.status == 200, answer.content


def submit(api: Api, **fields: Any) -> Json:
    """A task of the queue that says nothing but this."""
    answer = api.post("/v1/tasks", {"queue": "mail", **fields})
    assert answer.status == 202, answer.content
    found: Json = answer.json
    return found


def refused(api: Api, **fields: Any) -> dict[str, str]:
    answer = api.post("/v1/tasks", {"queue": "mail", **fields})
    assert answer.status == 422, answer.content
    return answer.faults


def stored(database: Database, task: Json) -> TaskSpec:
    return look_up(database, TaskId(UUID(task["id"]))).spec


@pytest.fixture
def other(service: Service) -> Iterator[Api]:
    """The API of another process on the same store."""
    running = Service(service.settings, service.database)
    yield Api(create_app(running))
    running.close()


def test_a_queue_can_give_whatever_a_submit_can_say(api: Api, database: Database) -> None:
    define(api, **ALL)
    given, said = submit(api), api.post("/v1/tasks", {"queue": "mail", **ALL}).json
    assert stored(database, given) == stored(database, said)
    assert (given["retries"], given["flowKey"], given["priority"]) == (7, "smtp", 8)
    own = {"id", "createdAt", "runAt", "expiresAt", "nextAttemptAt", "links", "rootId"}
    assert {name: value for name, value in given.items() if name not in own} == {
        name: value for name, value in said.items() if name not in own
    }


def test_every_field_of_a_submit_can_be_a_default_but_for_key_and_queue() -> None:
    names = {field.encode_name for field in fields_of(SubmitTask)}
    assert {field.encode_name for field in fields_of(TaskDefaults)} == names - TaskDefaults.REFUSED.keys()
    assert ALL.keys() == names - TaskDefaults.REFUSED.keys() - {"runAt", "expiresAt", "payload", "bodyBase64"}


@pytest.mark.parametrize("field", sorted(ALL.keys() - {"targetUrl", "body", "contentType"}))
def test_what_a_caller_says_wins(api: Api, database: Database, field: str) -> None:
    said: dict[str, Any] = {
        "method": "PATCH",
        "headers": {"X-From": "caller"},
        "webhookUrl": "https://other.example/",
        "webhookEvents": ["succeeded"],
        "retries": 3,
        "timeout": 30,
        "backoff": {"type": "fixed", "initial": "1s"},
        "retryPolicy": "never",
        "verdict": [{"when": {"status": "2xx", "jsonPath": "$.no"}, "outcome": "retry"}],
        "reconcile": {"url": "https://else.example/"},
        "onLost": "retry",
        "poisonAfter": 9,
        "onFailure": {"task": {"targetUrl": "https://else.example/"}},
        "onSuccess": {"task": {"targetUrl": "https://else.example/"}},
        "delay": 0,
        "expiresIn": "3h",
        "priority": 5,
        "orderingKey": "two",
        "flowKey": "other",
        "labels": [],
        "metadata": {},
    }
    define(api, **ALL)
    own = {field: said[field]}
    given, all_said = submit(api, **own), api.post("/v1/tasks", {"queue": "mail", **ALL, **own}).json
    assert stored(database, given) == stored(database, all_said)
    if field == "headers":
        assert stored(database, given).headers == (("X-From", "caller"),), "headers are one field"


def test_the_queue_that_is_not_named_has_defaults_too(api: Api) -> None:
    define(api, "default", targetUrl=TARGET, retries=7)
    answer = api.post("/v1/tasks", {})
    assert (answer.status, answer.json["targetUrl"], answer.json["retries"]) == (202, TARGET, 7)
    assert api.submit(queue="other")["retries"] == 3


@pytest.mark.parametrize(
    ("default", "said", "expected"),
    [
        ({"delay": "10m"}, {"runAt": "2000-01-01T00:00:00Z"}, {"status": "queued"}),
        ({"runAt": "2000-01-01T00:00:00Z"}, {"delay": "10m"}, {"status": "scheduled"}),
        (
            {"runAt": "2000-01-01T00:00:00Z"},
            {"delayUntil": "2001-01-01T00:00:00Z"},
            {"runAt": "2001-01-01T00:00:00.000Z"},
        ),
        ({"maxRetries": 7}, {"retries": 1}, {"retries": 1}),
        ({"retries": 7}, {"maxRetries": 1}, {"retries": 1}),
        ({"callbackUrl": "https://else.example/"}, {"targetUrl": TARGET}, {"targetUrl": TARGET}),
        ({"payload": {"a": 1}}, {"body": "x"}, {"body": "x", "contentType": "text/plain; charset=utf-8"}),
        ({"body": "a,b", "contentType": "text/csv"}, {"payload": 1}, {"payload": 1, "contentType": "application/json"}),
        ({"body": "a,b", "contentType": "text/csv"}, {"body": "c"}, {"body": "c", "contentType": "text/csv"}),
        ({"contentType": "text/csv"}, {"bodyBase64": "YQ=="}, {"body": "a", "contentType": "text/csv"}),
        ({"contentType": "text/csv"}, {}, {"contentType": None}),
        ({"payload": 1}, {"method": "GET"}, {"method": "GET", "contentType": None}),
        ({"method": "GET"}, {"payload": 1}, {"method": "POST", "payload": 1}),
        ({"method": "GET"}, {}, {"method": "GET"}),
        ({"webhookEvents": ["dead"]}, {}, {"webhookUrl": None}),
        ({"webhookEvents": ["dead"]}, {"onCompleteUrl": "https://a.example/"}, {"webhookEvents": ["dead"]}),
        ({"webhookUrl": "https://a.example/"}, {"webhookEvents": ["dead"]}, {"webhookEvents": ["dead"]}),
    ],
)
def test_a_default_never_stands_beside_what_excludes_it(api: Api, default: Json, said: Json, expected: Json) -> None:
    target = {} if "callbackUrl" in default else {"targetUrl": TARGET}
    define(api, **target, **default)
    task = submit(api, **said)
    assert {name: task[name] for name in expected} == expected


def test_an_expiry_that_a_caller_names_keeps_out_the_default(api: Api, database: Database) -> None:
    define(api, targetUrl=TARGET, expiresIn="1h")
    task = submit(api, expiresAt="2027-01-01T00:00:00Z")
    assert task["expiresAt"] == "2027-01-01T00:00:00.000Z"
    task = submit(api)
    assert look_up(database, TaskId(UUID(task["id"]))).expires_at < look_up(
        database, TaskId(UUID(task["id"]))
    ).created_at + timedelta(hours=2)


def test_what_a_default_makes_impossible_points_at_the_queue_that_brought_it(api: Api) -> None:
    define(api, targetUrl=TARGET, expiresIn="1h")
    assert list(refused(api, delay="2h")) == ["/queue"]
    answer = api.post("/v1/tasks/batch", {"tasks": [{"queue": "mail"}, {"queue": "mail", "delay": "2h"}]})
    assert list(answer.faults) == ["/tasks/1/queue"]


def test_without_a_target_of_its_own_or_a_default_a_task_is_refused(api: Api) -> None:
    define(api, retries=7)
    assert refused(api) == {"/targetUrl": "this field is required: its queue has no default for it"}
    assert list(refused(api, targetUrl=3)) == ["/targetUrl"]


def test_every_task_of_a_batch_gets_the_defaults_of_its_own_queue(api: Api) -> None:
    define(api, "mail", retries=7)
    define(api, "bills", retries=9, targetUrl=TARGET)
    tasks = [
        {"queue": "mail", "targetUrl": TARGET},
        {"queue": "bills"},
        {"queue": "bills", "retries": 1},
        {"targetUrl": TARGET},
    ]
    answer = api.post("/v1/tasks/batch", {"tasks": tasks})
    assert [task["retries"] for task in answer.json["tasks"]] == [7, 9, 1, 3]


class TestFollowUps:
    """A task that is to follow gets the defaults of its own queue, but nothing that would make it follow for ever."""

    def test_it_gets_those_of_its_own_queue(self, api: Api, database: Database) -> None:
        define(api, "undo", **ALL)
        task = api.submit(onFailure={"task": {"queue": "undo", "retries": 1}}, queue="mail")
        spec = stored(database, task)
        assert spec.on_failure is not None
        follow_up = spec.on_failure.task
        assert (follow_up.spec.target_url, follow_up.spec.retries, follow_up.spec.priority) == (TARGET, 1, 8)
        assert follow_up.delay == timedelta(minutes=10)
        assert (follow_up.spec.body, follow_up.spec.on_failure, follow_up.spec.on_success) == (None, None, None)

    def test_one_that_a_queue_gives_gets_defaults_too(self, api: Api, database: Database) -> None:
        define(api, "undo", targetUrl="https://undo.example/", retries=9)
        define(api, "mail", targetUrl=TARGET, onFailure={"task": {"queue": "undo"}})
        spec = stored(database, submit(api))
        assert spec.on_failure is not None
        assert (spec.on_failure.task.spec.target_url, spec.on_failure.task.spec.retries) == ("https://undo.example/", 9)

    def test_queues_whose_tasks_follow_each_other_come_to_an_end(self, api: Api, database: Database) -> None:
        define(api, "mail", targetUrl=TARGET, onFailure={"task": {"queue": "mail", "targetUrl": TARGET}})
        spec = stored(database, submit(api))
        assert spec.on_failure is not None
        assert spec.on_failure.task.spec.on_failure is None
        nested = {"task": {"queue": "mail", "onSuccess": {"task": {"queue": "mail"}}}}
        spec = stored(database, submit(api, onFailure=nested))
        assert spec.on_failure is not None
        assert spec.on_failure.task.spec.on_success is not None


class TestHowLongAChangeTakes:
    """A process sees its own changes at once and those of others within a second."""

    def test_its_own_change_is_seen_at_once(self, api: Api) -> None:
        for retries in (7, 8, 9):
            define(api, targetUrl=TARGET, retries=retries)
            assert submit(api)["retries"] == retries
        api.delete("/v1/queues/mail")
        assert api.submit(queue="mail")["retries"] == 3

    def test_a_pause_leaves_the_defaults_in_force(self, api: Api) -> None:
        define(api, targetUrl=TARGET, retries=7)
        api.post("/v1/queues/mail/pause")
        assert submit(api)["retries"] == 7

    def test_the_change_of_another_process_is_seen_soon(self, api: Api, other: Api) -> None:
        assert api.submit(queue="mail")["retries"] == 3
        define(other, retries=7)
        wait_until(lambda: api.submit(queue="mail")["retries"] == 7, what="the change")


def test_a_repeat_is_the_first_task_whatever_the_defaults_are_by_then(api: Api) -> None:
    define(api, targetUrl=TARGET, retries=7)
    first = submit(api, idempotencyKey="a")
    define(api, targetUrl=TARGET, retries=8)
    again = api.post("/v1/tasks", {"queue": "mail", "idempotencyKey": "a"})
    assert (again.headers["idempotency-replayed"], again.json["id"]) == ("true", first["id"])
    assert again.json["retries"] == 7


def test_what_another_version_wrote_and_this_one_cannot_read_is_left_out(api: Api, database: Database) -> None:
    queue = Queue(project="default", name="mail", defaults=b'{"retries": 7, "surprise": 1, "priority": "high"}')
    with database.begin() as conn:
        queues.define(conn, database, queue)
    task = api.submit(queue="mail")
    assert (task["retries"], task["priority"]) == (7, 5)
