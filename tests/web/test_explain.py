"""Explaining a task over HTTP: every state, on the real store."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from taskqueue.core.task import Task
from taskqueue.store.database import Database
from tests.support.builders import answer as answered
from tests.support.builders import claim_all, claim_one, settle_one, submit_one
from tests.support.clock import Clock
from tests.web.contract import Api, Json


def explained(api: Api, task_id: object) -> Json:
    answer = api.get(f"/v1/tasks/{task_id}/explain")
    assert answer.status == 200, answer.content
    found: Json = answer.json
    return found


def run(database: Database, status: int = 200, **over: object) -> Task:
    task = claim_one(database)
    assert settle_one(database, task, answered(status), **over)  # type: ignore[arg-type]
    return task


def kinds(explanation: Json) -> list[str]:
    return [blocker["kind"] for blocker in explanation["blockedBy"]]


def test_an_unknown_task_is_a_404(api: Api, database: Database) -> None:
    assert api.get(f"/v1/tasks/{uuid.uuid4()}/explain").status == 404
    assert api.get(f"/v1/tasks/{submit_one(database, project='other').id}/explain").status == 404


def test_a_scheduled_task_waits_for_its_time(api: Api) -> None:
    task = api.submit(delay="1h")
    told = explained(api, task["id"])
    assert (told["status"], kinds(told)) == ("scheduled", ["time"])
    assert told["next"] | {"detail": ""} == {
        "action": "attempt",
        "earliest": task["nextAttemptAt"],
        "latest": None,
        "detail": "",
    }
    assert len(told["plan"]["attempts"]) == 4
    assert told["plan"]["attempts"][0]["earliest"] == task["nextAttemptAt"]


def test_a_due_task_that_no_worker_takes_says_so(api: Api, clock: Clock) -> None:
    task = api.submit()
    assert kinds(explained(api, task["id"])) == []
    clock.advance(minutes=2)
    assert kinds(explained(api, task["id"])) == ["worker"]


def test_a_task_behind_others_names_the_first_of_them(api: Api, database: Database) -> None:
    first, _, third = (api.submit(orderingKey="a")["id"] for _ in range(3))
    assert kinds(explained(api, first)) == []
    (blocker,) = explained(api, third)["blockedBy"]
    assert (blocker["kind"], blocker["taskId"]) == ("orderingKey", first)
    run(database)
    (blocker,) = explained(api, third)["blockedBy"]
    assert blocker["taskId"] != first


def test_a_running_task_tells_of_its_worker_until_the_lease_lapses(api: Api, database: Database, clock: Clock) -> None:
    task = api.submit(timeout="10m")
    claim_all(database, worker="worker-7")
    told = explained(api, task["id"])
    assert (told["status"], kinds(told), told["next"]["action"]) == ("running", ["attempt"], "outcome")
    assert told["blockedBy"][0]["worker"] == "worker-7"
    clock.advance(minutes=1)
    told = explained(api, task["id"])
    assert (kinds(told), told["next"]["action"]) == (["lapsedLease"], "reclaim")


def test_a_retrying_task_is_tried_again_when_the_explanation_says(api: Api, database: Database, clock: Clock) -> None:
    task = api.submit(retryPolicy=[{"match": ["server_error"], "retries": 2}], webhookUrl="https://caller.example/")
    run(database, 500)
    told = explained(api, task["id"])
    assert (told["status"], told["plan"]["supposes"]) == ("retrying", "server_error")
    assert told["lastOutcome"]["decidedBy"] == "rule 0 of retryPolicy (server_error)"
    assert told["onDeath"][0] == "a webhook tells https://caller.example/"
    assert told["next"]["earliest"] == api.get(f"/v1/tasks/{task['id']}").json["nextAttemptAt"]
    foreseen = told["plan"]["attempts"]
    for attempt in foreseen:
        clock.advance(minutes=1)
        assert run(database, 500).progress.number == attempt["number"]
    died = explained(api, task["id"])
    assert (died["status"], died["plan"], died["next"]) == ("dead", None, None)
    assert f"({told['plan']['givesUp']['reason']})" in died["why"]


def test_a_dead_task_says_what_to_do(api: Api, database: Database) -> None:
    task = api.submit()
    run(database, 400)
    told = explained(api, task["id"])
    letter = api.get(f"/v1/tasks/{task['id']}").json["deadLetterId"]
    assert told["advice"][-1].endswith(f"taskqueue dead redrive {letter}")
    assert "A redrive is safe" in told["advice"][-1]
    assert (told["lastOutcome"]["class"], told["lastOutcome"]["statusCode"]) == ("bad_request", 400)


def test_a_dead_task_that_was_compensated_names_the_compensation(api: Api, database: Database) -> None:
    task = api.submit(onFailure={"task": {"targetUrl": "https://caller.example/undo"}})
    assert explained(api, task["id"])["onDeath"][0] == "a task for https://caller.example/undo is submitted"
    run(database, 400)
    chain = api.get(f"/v1/tasks/{task['id']}/chain").json["items"]
    assert f"Task {chain[1]['id']} was submitted to compensate" in explained(api, task["id"])["advice"][-1]


@pytest.mark.parametrize("verb", ["succeeded", "cancelled"])
def test_what_has_ended_has_nothing_to_come(api: Api, database: Database, verb: str) -> None:
    task = api.submit()
    if verb == "cancelled":
        api.post(f"/v1/tasks/{task['id']}/cancel")
    else:
        run(database)
    told = explained(api, task["id"])
    assert (told["status"], told["next"], told["plan"], told["blockedBy"]) == (verb, None, None, [])


def test_what_a_success_has_submitted_is_named(api: Api, database: Database) -> None:
    task = api.submit(onSuccess={"task": {"targetUrl": "https://caller.example/next"}})
    run(database)
    chain = api.get(f"/v1/tasks/{task['id']}/chain").json["items"]
    assert explained(api, task["id"])["followedBy"] == [
        f"task {chain[1]['id']} for https://caller.example/next was submitted (onSuccess)"
    ]


def test_a_death_names_the_limit_that_was_reached(api: Api, database: Database, clock: Clock) -> None:
    task = api.submit(poisonAfter=2, retries=9)
    run(database, 500)
    clock.advance(hours=1)
    run(database, 500)
    told = explained(api, task["id"])
    assert told["lastOutcome"]["decision"].endswith("2 identical failures came in a row (poisonAfter is 2)")
    assert api.get(task["links"]["explain"]).json["why"] == told["why"]


def test_a_task_that_is_to_ask_says_so(api: Api, database: Database, clock: Clock) -> None:
    task = api.submit(reconcile={"url": "https://caller.example/done"})
    run(database, 504)
    told = explained(api, task["id"])
    assert told["next"]["action"] == told["plan"]["attempts"][0]["kind"] == "reconcile"
    clock.advance(hours=1)
    claim_all(database)
    assert "asks the reconcile URL" in explained(api, task["id"])["why"]


def test_a_webhook_can_be_explained(api: Api, database: Database) -> None:
    task = api.submit(webhookUrl="https://caller.example/hook")
    run(database)
    (webhook,) = api.get(f"/v1/tasks/{task['id']}/webhooks").json["items"]
    told = explained(api, webhook["id"])
    assert task["id"] in told["caveats"][0]
    assert len(told["plan"]["attempts"]) == 11


def test_a_function_that_is_handed_an_event_comes_with_a_caveat(api: Api, database: Database) -> None:
    url = "lambda://resize?invocation=event"
    task = submit_one(database, target_url=url, origin="lambda://resize", target_host="resize")
    assert "invocation=event" in explained(api, task.id)["caveats"][0]


def test_an_expired_task_is_about_to_die(api: Api, clock: Clock) -> None:
    task = api.submit(expiresIn="10s")
    clock.advance(seconds=timedelta(minutes=1).total_seconds())
    assert explained(api, task["id"])["next"]["action"] == "expire"
