"""Dead letters: found, looked at, redriven alone or together, forgotten."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from taskqueue.store import dead_letters, operations
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, settle_one, submit_one
from tests.support.clock import Clock
from tests.web.contract import Answer, Api, Json


def kill(api: Api, database: Database, **fields: Any) -> Json:
    """Submit a task, have its only attempt rejected, and return its dead letter as listed."""
    task_id = api.submit(**fields)["id"]
    settle_one(database, claim_one(database), answered(400, body=b"no such account"))
    (letter,) = [item for item in api.get("/v1/dead-letters").json["items"] if item["taskId"] == task_id]
    found: Json = letter
    return found


def redrive(api: Api, letter: Json, edits: Json | None = None) -> Answer:
    return api.post(f"/v1/dead-letters/{letter['id']}/redrive", edits)


def count(api: Api, **conditions: object) -> int:
    return len(api.get("/v1/dead-letters", **conditions).json["items"])


def test_a_dead_letter_is_listed_without_its_payload(api: Api, database: Database) -> None:
    letter = kill(api, database, payload={"n": 1})
    assert (letter["reason"], letter["class"], letter["generation"]) == ("rejected", "bad_request", 1)
    assert letter["task"]["deadReason"] == "rejected"
    assert "payload" not in letter["task"]
    assert "attempts" not in letter


def test_a_dead_letter_keeps_payload_and_attempts(api: Api, database: Database) -> None:
    letter = kill(api, database, payload={"n": 1}, headers={"X-Api-Key": "s3cret"})
    whole = api.get(f"/v1/dead-letters/{letter['id']}").json
    assert whole["task"]["payload"] == {"n": 1}
    assert whole["task"]["headers"] == {"X-Api-Key": "***"}
    assert [attempt["class"] for attempt in whole["attempts"]] == ["bad_request"]


@pytest.mark.parametrize("call", [("GET", ""), ("DELETE", ""), ("POST", "/redrive")])
def test_an_unknown_or_foreign_dead_letter_is_a_404(api: Api, database: Database, call: tuple[str, str]) -> None:
    submit_one(database, project="other")
    settle_one(database, claim_one(database), answered(400))
    with database.read() as conn:
        (foreign,) = dead_letters.search(conn, "other", DeadLetterFilter(), cursor=None, limit=1).items
    for id_ in (uuid.uuid4(), foreign.id):
        assert api.call(call[0], f"/v1/dead-letters/{id_}{call[1]}").status == 404


def test_dead_letters_are_found_by_what_they_are(api: Api, database: Database) -> None:
    mail = kill(api, database, queue="mail", labels=["7"])
    kill(api, database, targetUrl="https://other.example/")
    for conditions in (
        {"taskId": mail["taskId"]},
        {"taskId": mail["taskId"], "kind": "task"},
        {"queue": "mail"},
        {"label": "7"},
        {"fingerprint": mail["fingerprint"]},
        {"targetHost": "target.example"},
    ):
        assert [item["id"] for item in api.get("/v1/dead-letters", **conditions).json["items"]] == [mail["id"]]
    assert count(api, reason="rejected") == count(api, **{"class": "bad_request"}) == 2
    assert count(api, reason="expired") == count(api, after="2100-01-01T00:00:00Z") == 0


def test_the_dead_letter_of_a_webhook_says_what_it_is(api: Api, database: Database) -> None:
    task = api.submit(webhookUrl="https://caller.example/hook")
    settle_one(database, claim_one(database), answered(200))
    settle_one(database, claim_one(database), answered(410))
    (letter,) = api.get("/v1/dead-letters", kind="webhook").json["items"]
    (webhook,) = api.get(task["links"]["webhooks"]).json["items"]
    assert (letter["kind"], letter["taskId"]) == ("webhook", webhook["id"])
    assert webhook["deadLetterId"] == letter["id"]
    assert count(api, kind="task") == 0
    assert count(api) == 1
    assert api.post("/v1/dead-letters/redrive", {"kind": "task", "dryRun": True}).json == {"count": 0}
    assert api.post("/v1/dead-letters/redrive", {"taskId": webhook["id"], "dryRun": True}).json == {"count": 1}


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        ({"taskId": "7"}, "expected a task id (a UUID)"),
        ({"kind": "webhooks"}, "expected one of: task, webhook"),
        ({"class": "bad_requests"}, "did you mean bad_request?"),
        ({"reason": "tired"}, "expected one of: exhausted, rejected, expired, lost"),
        ({"queue": "$webhooks"}, "webhooks are found with kind=webhook"),
    ],
)
def test_what_no_dead_letter_can_be_is_refused(front: Api, conditions: Json, sentence: str) -> None:
    for answer in (front.get("/v1/dead-letters", **conditions), front.post("/v1/dead-letters/redrive", conditions)):
        assert answer.status == 422
        ((pointer, detail),) = answer.faults.items()
        assert pointer.strip("/") in conditions
        assert sentence in detail


def test_a_page_of_dead_letters_leads_to_the_next(api: Api, database: Database) -> None:
    letters = [kill(api, database)["id"] for _ in range(3)]
    first = api.get("/v1/dead-letters", limit=2).json
    second = api.get("/v1/dead-letters", limit=2, cursor=first["nextCursor"]).json
    assert [item["id"] for item in first["items"] + second["items"]] == letters[::-1]
    assert second["nextCursor"] is None


def test_a_redriven_task_starts_over_in_a_new_generation(api: Api, database: Database) -> None:
    letter = kill(api, database)
    task = redrive(api, letter).json
    assert (task["id"], task["status"], task["generation"], task["attempt"]) == (letter["taskId"], "queued", 2, 0)
    assert count(api) == 0
    assert count(api, includeRedriven="true") == 1


def test_a_dead_task_leads_to_its_dead_letter_for_as_long_as_it_can_be_redriven(api: Api, database: Database) -> None:
    letter, deleted = kill(api, database), kill(api, database)
    api.delete(f"/v1/dead-letters/{deleted['id']}")
    task = api.get(letter["links"]["task"]).json
    assert (task["deadLetterId"], task["links"]["deadLetter"]) == (letter["id"], letter["links"]["self"])
    assert letter["task"]["deadLetterId"] == letter["id"]
    named = {item["id"]: item["deadLetterId"] for item in api.get("/v1/tasks").json["items"]}
    assert named == {letter["taskId"]: letter["id"], deleted["taskId"]: None}
    assert redrive(api, letter).json["deadLetterId"] is None
    assert "deadLetter" not in api.get(letter["links"]["task"]).json["links"]


def test_a_second_redrive_is_a_conflict(api: Api, database: Database) -> None:
    letter = kill(api, database)
    assert redrive(api, letter).status == 200
    assert redrive(api, letter, {"force": True}).status == 409


def test_a_redrive_may_change_what_is_sent(api: Api, database: Database) -> None:
    letter = kill(api, database, payload={"n": 1}, headers={"X-A": "1"})
    edits = {
        "callbackUrl": "https://repaired.example/",
        "payload": None,
        "headers": {"X-B": "2"},
        "timeout": "5m",
        "maxRetries": 0,
    }
    assert redrive(api, letter, edits).status == 200
    task = claim_one(database)
    assert task.spec.target_url == "https://repaired.example/"
    assert (task.spec.body, task.spec.headers) == (b"null", (("X-B", "2"),))
    assert (task.spec.timeout.total_seconds(), task.spec.retries) == (300, 0)
    shown = api.get(f"/v1/tasks/{letter['taskId']}").json
    assert (shown["payload"], shown["timeout"], shown["retries"]) == (None, 300, 0)


@pytest.mark.parametrize(
    ("edits", "pointer"),
    [
        ({"targetUrl": "http://127.0.0.1/"}, "/targetUrl"),
        ({"retries": 101}, "/retries"),
        ({"queue": "mail"}, "/queue"),
        ({"payload": 1, "body": "x"}, "/body"),
        ({"contentType": "text/plain"}, "/contentType"),
        ({"headers": {"Host": "x"}}, "/headers/Host"),
        ({"force": "yes"}, "/force"),
    ],
)
def test_an_edit_that_cannot_be_meant_redrives_nothing(api: Api, database: Database, edits: Json, pointer: str) -> None:
    letter = kill(api, database)
    answer = redrive(api, letter, edits)
    assert answer.status == 422
    assert list(answer.faults) == [pointer]
    assert count(api) == 1


def test_a_get_is_not_given_a_body_by_a_redrive(api: Api, database: Database) -> None:
    letter = kill(api, database, method="GET")
    assert redrive(api, letter, {"payload": 1}).faults.keys() == {"/payload"}


def test_a_deleted_dead_letter_is_gone_and_its_task_stays(api: Api, database: Database) -> None:
    letter = kill(api, database)
    path = f"/v1/dead-letters/{letter['id']}"
    assert api.delete(path).status == 204
    assert api.delete(path).status == 404
    assert api.get(f"/v1/tasks/{letter['taskId']}").json["status"] == "dead"


class TestMany:
    """Redriving all that fit."""

    def test_a_dry_run_only_counts(self, api: Api, database: Database) -> None:
        kill(api, database, queue="mail")
        kill(api, database)
        assert api.post("/v1/dead-letters/redrive", {"dryRun": True}).json == {"count": 2}
        assert api.post("/v1/dead-letters/redrive", {"dryRun": True, "queue": "mail"}).json == {"count": 1}
        assert count(api) == 2

    def test_an_operation_redrives_what_fits_and_tells_how_far_it_is(self, api: Api, database: Database) -> None:
        letters = [kill(api, database, queue="mail") for _ in range(2)]
        kill(api, database)
        answer = api.post("/v1/dead-letters/redrive", {"queue": "mail", "kind": "task"})
        assert answer.status == 202
        assert (answer.json["matched"], answer.json["done"], answer.json["status"]) == (2, 0, "running")
        conditions = answer.json["conditions"]
        assert conditions == {"queue": "mail", "kind": "task", "before": answer.json["createdAt"]}
        redrive(api, letters[0])
        while True:
            with database.begin() as conn:
                operations.advance(conn, database)
            progress = api.get(answer.headers["location"]).json
            if progress["status"] == "finished":
                break
        told = {name: progress[name] for name in ("matched", "done", "skipped", "failed")}
        assert told == {"matched": 2, "done": 1, "skipped": 1, "failed": 0}
        assert count(api) == 1

    def test_pressing_twice_redrives_nothing_twice(self, api: Api, database: Database, clock: Clock) -> None:
        kill(api, database)
        for _ in range(2):
            api.post("/v1/dead-letters/redrive", {})
        clock.advance(seconds=5)
        for _ in range(6):
            with database.begin() as conn:
                operations.advance(conn, database)
        assert claim_one(database).progress.generation == 2

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"ratePerSecond": 0}, "/ratePerSecond"),
            ({"ratePerSecond": 10_001}, "/ratePerSecond"),
            ({"ratePerSecond": "1"}, "/ratePerSecond"),
            ({"dryRun": 1}, "/dryRun"),
            ({"reason": "tired"}, "/reason"),
            ({"filter": {}}, "/filter"),
            ({"includeRedriven": True}, "/includeRedriven"),
        ],
    )
    def test_conditions_that_mean_nothing_are_refused(self, front: Api, body: Json, pointer: str) -> None:
        assert list(front.post("/v1/dead-letters/redrive", body).faults) == [pointer]

    def test_no_body_is_not_taken_for_all(self, front: Api) -> None:
        assert front.post("/v1/dead-letters/redrive").status == 400

    def test_an_unknown_operation_is_a_404(self, api: Api) -> None:
        assert api.get(f"/v1/operations/{uuid.uuid4()}").status == 404
