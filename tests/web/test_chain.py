"""A chain is seen from any of its members; what compensated for a death is named by its dead letter."""

from __future__ import annotations

import uuid

from taskqueue.store.database import Database
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, settle_one, submit_one
from tests.web.contract import Api, Json

UNDO = "https://undo.example/"
NEXT = "https://next.example/"


def chain(api: Api, task_id: str) -> list[Json]:
    items: list[Json] = api.get(f"/v1/tasks/{task_id}/chain").json["items"]
    return items


def end_one(database: Database, status: int) -> None:
    settle_one(database, claim_one(database), answered(status, body=b'{"done":1.0}'))


def compensated(api: Api, database: Database) -> Json:
    """The dead letter of a task whose compensation was submitted."""
    task = api.submit(onFailure={"task": {"targetUrl": UNDO}})
    end_one(database, 400)
    (letter,) = api.get("/v1/dead-letters", taskId=task["id"]).json["items"]
    found: Json = letter
    return found


def test_a_task_alone_is_a_chain_of_one(api: Api) -> None:
    task = api.submit()
    (only,) = chain(api, task["id"])
    assert (only["id"], only["rootId"], only["parentId"]) == (task["id"], task["id"], None)
    assert task["links"]["chain"] == f"/v1/tasks/{task['id']}/chain"


def test_every_member_leads_to_all_oldest_first(api: Api, database: Database) -> None:
    undo = {"targetUrl": UNDO, "onSuccess": {"task": {"targetUrl": NEXT, "payload": "own"}}}
    root = api.submit(payload={"order": 7}, onFailure={"task": undo})
    api.submit(targetUrl="https://other.example/", delay="1h")
    end_one(database, 400)
    end_one(database, 200)
    first, second, third = chain(api, root["id"])
    assert [task["targetUrl"] for task in (first, second, third)] == [root["targetUrl"], UNDO, NEXT]
    assert [task["status"] for task in (first, second, third)] == ["dead", "succeeded", "queued"]
    assert [task["parentId"] for task in (first, second, third)] == [None, first["id"], second["id"]]
    assert {task["rootId"] for task in (first, second, third)} == {root["id"]}
    assert chain(api, second["id"]) == chain(api, third["id"]) == [first, second, third]
    assert all("payload" not in task for task in (first, second, third))
    told = api.get(f"/v1/tasks/{third['id']}").json["payload"]
    assert (told["task"]["id"], told["result"]["body"], told["payload"]) == (second["id"], '{"done":1.0}', "own")


def test_the_chain_of_an_unknown_or_foreign_task_is_a_404(api: Api, database: Database) -> None:
    foreign = submit_one(database, project="other")
    for id_ in (uuid.uuid4(), foreign.id):
        assert api.get(f"/v1/tasks/{id_}/chain").status == 404


def test_a_dead_letter_names_what_was_submitted_because_of_it(api: Api, database: Database) -> None:
    letter = compensated(api, database)
    follow_up = api.get(letter["links"]["compensation"]).json
    assert (follow_up["id"], follow_up["targetUrl"]) == (letter["compensationId"], UNDO)
    assert follow_up["parentId"] == letter["taskId"]


def test_a_dead_letter_without_a_compensation_names_none(api: Api, database: Database) -> None:
    api.submit(onFailure={"match": ["partial:likely"], "task": {"targetUrl": UNDO}})
    end_one(database, 400)
    (letter,) = api.get("/v1/dead-letters").json["items"]
    assert letter["compensationId"] is None
    assert letter["links"].keys() == {"self", "task"}


def test_work_that_was_compensated_is_redriven_only_by_force(api: Api, database: Database) -> None:
    letter = compensated(api, database)
    path = f"{letter['links']['self']}/redrive"
    refused = api.post(path)
    assert refused.status == 409
    assert letter["compensationId"] in refused.json["detail"]
    assert '"force": true' in refused.json["detail"]
    assert api.post(path, {"force": True}).json["generation"] == 2
    assert api.post(path, {"force": True}).status == 409
