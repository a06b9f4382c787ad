"""Dead letters by their cause."""

from __future__ import annotations

import pytest

from taskqueue.store.database import Database
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, settle_one, submit_one
from tests.web.contract import Api, Json


def kill(api: Api, database: Database, *, status: int = 400, **fields: object) -> str:
    """The id of the dead letter of a task whose only attempt was rejected."""
    task_id = api.submit(**fields)["id"]
    settle_one(database, claim_one(database), answered(status))
    (letter,) = api.get("/v1/dead-letters", taskId=task_id).json["items"]
    return str(letter["id"])


def groups(api: Api, **conditions: object) -> list[Json]:
    items: list[Json] = api.get("/v1/dead-letters/groups", **conditions).json["items"]
    return items


def test_deaths_of_one_cause_are_counted_together_the_most_frequent_first(api: Api, database: Database) -> None:
    kill(api, database, status=404)
    letters = [kill(api, database, payload=number) for number in range(3)]
    most, least = groups(api)
    newest = api.get(f"/v1/dead-letters/{letters[-1]}").json
    oldest = api.get(f"/v1/dead-letters/{letters[0]}").json
    assert most == {
        "fingerprint": newest["fingerprint"],
        "count": 3,
        "class": "bad_request",
        "reason": "rejected",
        "targetHost": "target.example",
        "errorType": "HTTPStatus",
        "errorMessage": newest["error"]["message"],
        "oldest": oldest["diedAt"],
        "newest": newest["diedAt"],
        "exampleId": newest["id"],
        "links": {
            "deadLetters": f"/v1/dead-letters?fingerprint={newest['fingerprint']}",
            "example": f"/v1/dead-letters/{newest['id']}",
        },
    }
    assert (least["class"], least["count"]) == ("not_found", 1)
    listed = api.call("GET", most["links"]["deadLetters"]).json["items"]
    assert [letter["id"] for letter in listed] == letters[::-1]


def test_a_dead_letter_shows_how_its_last_call_failed(api: Api, database: Database) -> None:
    letter = api.get(f"/v1/dead-letters/{kill(api, database)}").json
    assert letter["error"] == letter["task"]["error"]
    assert (letter["error"]["class"], letter["error"]["type"]) == ("bad_request", "HTTPStatus")


def test_groups_are_counted_among_what_fits(api: Api, database: Database) -> None:
    kill(api, database, queue="mail")
    redriven = kill(api, database, queue="mail")
    kill(api, database)
    api.post(f"/v1/dead-letters/{redriven}/redrive")
    assert [group["count"] for group in groups(api, queue="mail")] == [1]
    assert [group["count"] for group in groups(api, queue="mail", includeRedriven="true")] == [2]
    assert groups(api, reason="expired") == []


def test_a_page_of_groups_leads_to_the_next(api: Api, database: Database) -> None:
    for status in (400, 401, 404):
        kill(api, database, status=status)
    first = api.get("/v1/dead-letters/groups", limit=2).json
    second = api.get("/v1/dead-letters/groups", limit=2, cursor=first["nextCursor"]).json
    classes = [group["class"] for group in first["items"] + second["items"]]
    assert sorted(classes) == ["bad_request", "not_found", "unauthorized"]
    assert second["nextCursor"] is None


@pytest.mark.parametrize(
    ("query", "pointer"), [({"reason": "tired"}, "/reason"), ({"limit": 0}, "/limit"), ({"sort": "count"}, "/sort")]
)
def test_conditions_that_mean_nothing_are_refused(front: Api, query: Json, pointer: str) -> None:
    assert list(front.get("/v1/dead-letters/groups", **query).faults) == [pointer]


def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for cursor in ("x", "AAAA"):
        assert api.get("/v1/dead-letters/groups", cursor=cursor).faults.keys() == {"/cursor"}


def test_a_project_sees_only_its_own_groups(api: Api, database: Database) -> None:
    submit_one(database, project="other")
    settle_one(database, claim_one(database), answered(400))
    assert groups(api) == []
