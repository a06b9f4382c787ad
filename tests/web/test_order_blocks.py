"""What blocks ordering keys, over HTTP: seen, explained, and let go."""

from __future__ import annotations

from taskqueue.store import parking
from taskqueue.store.database import Database
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, settle_one
from tests.web.contract import Api, Json

MAIL = "/v1/queues/mail"


def kill_first(api: Api, database: Database, *, on_death: str = "block", key: str = "a", count: int = 3) -> list[Json]:
    """So many tasks of a key, of which the first has died."""
    assert api.put(MAIL, {"onDeath": on_death}).status == 200
    made = [api.submit(queue="mail", orderingKey=key) for _ in range(count)]
    assert settle_one(database, claim_one(database), answered(400))
    return made


def explained(api: Api, task: Json) -> Json:
    found: Json = api.get(f"/v1/tasks/{task['id']}/explain").json
    return found


def blocked_keys(api: Api) -> int:
    found: int = api.get(MAIL).json["stats"]["blockedKeys"]
    return found


def test_a_blocked_key_is_listed_and_counted(api: Api, database: Database) -> None:
    first, *_ = kill_first(api, database)
    dead = api.get(f"/v1/tasks/{first['id']}").json
    (item,) = api.get(f"{MAIL}/blocks").json["items"]
    assert item == {
        "orderingKey": "a",
        "onDeath": "block",
        "taskId": first["id"],
        "deadLetterId": dead["deadLetterId"],
        "since": dead["finishedAt"],
        "waiting": 2,
        "capped": False,
    }
    assert blocked_keys(api) == 1
    assert api.get(MAIL).json["links"]["blocks"] == f"{MAIL}/blocks"


def test_blocks_are_listed_page_by_page(api: Api, database: Database) -> None:
    for key in ("b", "a"):
        kill_first(api, database, key=key, count=1)
    first = api.get(f"{MAIL}/blocks", limit=1).json
    rest = api.get(f"{MAIL}/blocks", limit=1, cursor=first["nextCursor"]).json
    assert [page["items"][0]["orderingKey"] for page in (first, rest)] == ["a", "b"]
    assert rest["nextCursor"] is None
    assert api.get(f"{MAIL}/blocks", cursor="x").status == 422
    assert api.get("/v1/queues/other/blocks").json["items"] == []


def test_who_waits_is_told_for_whom_and_how_to_end_it(api: Api, database: Database) -> None:
    first, second, _ = kill_first(api, database)
    letter = api.get(f"/v1/tasks/{first['id']}").json["deadLetterId"]
    told = explained(api, second)
    (blocker,) = told["blockedBy"]
    assert (blocker["kind"], blocker["taskId"]) == ("orderingKey", first["id"])
    assert blocker["since"] == api.get(f"/v1/tasks/{first['id']}").json["finishedAt"]
    assert f"task {first['id']} of its ordering key, which died at" in told["why"]
    assert f"taskqueue dead redrive {letter}" in told["advice"][0]
    assert "taskqueue queues unblock mail a" in told["advice"][1]
    assert told["blocks"] is None


def test_the_dead_one_says_whom_it_blocks(api: Api, database: Database) -> None:
    first, *_ = kill_first(api, database)
    told = explained(api, first)
    assert told["blocks"] == api.get(f"{MAIL}/blocks").json["items"][0]
    assert "It blocks its ordering key: 2 tasks wait behind it." in told["why"]
    assert "taskqueue queues unblock mail a" in told["advice"][-1]


def test_a_key_is_unblocked_by_hand(api: Api, database: Database) -> None:
    first, second, _ = kill_first(api, database)
    answer = api.post(f"{MAIL}/unblock", {"orderingKey": "a"})
    assert (answer.status, answer.json["orderingKey"], answer.json["lifted"]) == (200, "a", 1)
    assert answer.json["links"] == {"queue": MAIL, "blocks": f"{MAIL}/blocks"}
    assert str(claim_one(database).id) == second["id"]
    assert blocked_keys(api) == 0
    assert explained(api, first)["blocks"] is None
    assert api.post(f"{MAIL}/unblock", {"orderingKey": "a"}).status == 404
    assert api.post(f"{MAIL}/unblock", {}).faults.keys() == {"/orderingKey"}


def test_a_key_goes_on_when_its_dead_letter_is_redriven_or_deleted(api: Api, database: Database) -> None:
    first, second, third = kill_first(api, database)
    letter = api.get(f"/v1/tasks/{first['id']}").json["deadLetterId"]
    assert api.post(f"/v1/dead-letters/{letter}/redrive").status == 200
    again = claim_one(database)
    assert str(again.id) == first["id"]
    settle_one(database, again, answered(400))
    assert api.post(f"/v1/tasks/{second['id']}/run-now").status == 409
    letter = api.get(f"/v1/tasks/{first['id']}").json["deadLetterId"]
    assert api.delete(f"/v1/dead-letters/{letter}").status == 204
    settle_one(database, claim_one(database), answered(200))
    assert str(claim_one(database).id) == third["id"]


def test_what_was_parked_is_found_by_its_reason(api: Api, database: Database) -> None:
    first, second, third = kill_first(api, database, on_death="park")
    assert explained(api, second)["advice"][0].startswith("To stop parking")
    with database.begin() as conn:
        parking.step(conn, database, limit=10)
    parked = api.get("/v1/dead-letters", reason="parked").json["items"]
    assert [letter["taskId"] for letter in parked] == [third["id"], second["id"]]
    shown = api.get(f"/v1/tasks/{second['id']}").json
    assert (shown["status"], shown["deadReason"], shown["error"]["class"]) == ("dead", "parked", "parked")
    assert "an older task of its ordering key died" in explained(api, second)["why"]
    assert explained(api, first)["blocks"] is None
