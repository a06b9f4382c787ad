"""One idempotency key, one body, one task."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.clock import Clock
from tests.web.contract import Answer, Api

TARGET = "https://target.example/work"
BODY = {"targetUrl": TARGET, "payload": {"n": 1}}
KEY = {"Idempotency-Key": "order-7"}


def ids(answer: Answer) -> list[str]:
    assert answer.status == 202, answer.content
    return [task["id"] for task in answer.json.get("tasks", [answer.json])]


def count(api: Api) -> int:
    return len(api.get("/v1/tasks").json["items"])


def test_the_same_key_and_body_return_the_first_task(api: Api) -> None:
    first, again = api.post("/v1/tasks", BODY, headers=KEY), api.post("/v1/tasks", BODY, headers=KEY)
    assert ids(first) == ids(again)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert count(api) == 1


def test_a_repeat_shows_the_task_as_it_stands_now(api: Api) -> None:
    first = api.post("/v1/tasks", BODY, headers=KEY)
    api.post(f"{first.headers['location']}/cancel")
    assert api.post("/v1/tasks", BODY, headers=KEY).json["status"] == "cancelled"


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    api.post("/v1/tasks", BODY, headers=KEY)
    answer = api.post("/v1/tasks", {**BODY, "retries": 1}, headers=KEY)
    assert answer.status == 422
    assert answer.json["type"].endswith("key-reused")
    assert count(api) == 1


def test_another_spelling_of_the_same_fields_is_another_body(api: Api) -> None:
    api.post("/v1/tasks", json.dumps(BODY).encode(), headers=KEY)
    assert api.post("/v1/tasks", json.dumps(BODY, indent=1).encode(), headers=KEY).status == 422


def test_header_and_field_are_the_same_key(api: Api) -> None:
    body = {**BODY, "idempotencyKey": "order-7"}
    assert ids(api.post("/v1/tasks", body)) == ids(api.post("/v1/tasks", body, headers=KEY))


def test_header_and_field_that_differ_are_refused(front: Api) -> None:
    answer = front.post("/v1/tasks", {**BODY, "idempotencyKey": "order-8"}, headers=KEY)
    assert answer.status == 422
    assert answer.faults.keys() == {"/idempotencyKey"}


@pytest.mark.parametrize("key", ["", "k" * 257, "two words", "ä"])
def test_a_header_that_is_no_key_is_refused(front: Api, key: str) -> None:
    assert front.post("/v1/tasks", BODY, headers={"Idempotency-Key": key}).faults.keys() == {"/idempotencyKey"}


def test_a_key_is_free_again_after_its_time(api: Api, clock: Clock) -> None:
    body = {**BODY, "idempotencyTtl": "10m"}
    first = ids(api.post("/v1/tasks", body, headers=KEY))
    clock.advance(minutes=9)
    assert ids(api.post("/v1/tasks", body, headers=KEY)) == first
    clock.advance(minutes=2)
    assert ids(api.post("/v1/tasks", body, headers=KEY)) != first


def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    assert api.post("/v1/tasks", {**BODY, "retries": 101}, headers=KEY).status == 422
    assert api.post("/v1/tasks", BODY, headers=KEY).status == 202


def test_a_repeat_that_comes_after_the_expiry_is_still_a_repeat(api: Api) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=2.5)
    body = {**BODY, "expiresAt": expires_at.isoformat()}
    alone = ids(api.post("/v1/tasks", body, headers=KEY))
    single = {**body, "idempotencyKey": "a"}
    batches = [({"tasks": [body, BODY]}, {"Idempotency-Key": "b"}), ({"tasks": [BODY, single]}, None)]
    whole, mixed = (ids(api.post("/v1/tasks/batch", batch, headers=headers)) for batch, headers in batches)
    time.sleep(max(0.0, (expires_at - datetime.now(UTC)).total_seconds()))
    assert ids(api.post("/v1/tasks", body, headers=KEY)) == alone
    assert ids(api.post("/v1/tasks/batch", batches[0][0], headers=batches[0][1])) == whole
    assert ids(api.post("/v1/tasks/batch", batches[1][0]))[1] == mixed[1]
    refused = api.post("/v1/tasks", body, headers={"Idempotency-Key": "new"})
    assert "this time has passed" in refused.faults["/expiresAt"]
    assert api.post("/v1/tasks/batch", {"tasks": [body]}).faults.keys() == {"/tasks/0/expiresAt"}


class TestBatches:
    """A header covers the whole batch; tasks may carry keys of their own."""

    def test_a_header_repeats_the_whole_batch(self, api: Api) -> None:
        body = {"tasks": [BODY, BODY]}
        first, again = (api.post("/v1/tasks/batch", body, headers=KEY) for _ in range(2))
        assert ids(first) == ids(again)
        assert again.headers["idempotency-replayed"] == "true"
        assert count(api) == 2

    def test_a_header_of_a_batch_is_not_that_of_a_task(self, api: Api) -> None:
        api.post("/v1/tasks", BODY, headers=KEY)
        assert api.post("/v1/tasks/batch", {"tasks": [BODY]}, headers=KEY).status == 422

    def test_tasks_that_were_submitted_before_are_returned_among_new_ones(self, api: Api) -> None:
        known = {**BODY, "idempotencyKey": "a"}
        (first,) = ids(api.post("/v1/tasks/batch", {"tasks": [known]}))
        answer = api.post("/v1/tasks/batch", {"tasks": [BODY, known, {**BODY, "idempotencyKey": "b"}]})
        assert ids(answer)[1] == first
        assert "idempotency-replayed" not in answer.headers
        assert count(api) == 3

    def test_a_task_is_the_same_alone_and_in_a_batch(self, api: Api) -> None:
        known = {**BODY, "idempotencyKey": "a"}
        assert ids(api.post("/v1/tasks", known)) == ids(api.post("/v1/tasks/batch", {"tasks": [known]}))

    def test_a_known_key_with_another_task_refuses_the_batch(self, api: Api) -> None:
        api.post("/v1/tasks", {**BODY, "idempotencyKey": "a"})
        changed = {**BODY, "idempotencyKey": "a", "retries": 9}
        assert api.post("/v1/tasks/batch", {"tasks": [BODY, changed]}).status == 422
        assert count(api) == 1

    def test_a_key_that_comes_twice_is_refused(self, front: Api) -> None:
        keyed = {**BODY, "idempotencyKey": "a"}
        assert front.post("/v1/tasks/batch", {"tasks": [keyed, BODY, keyed]}).faults.keys() == {
            "/tasks/2/idempotencyKey"
        }

    def test_a_task_may_not_carry_the_key_of_its_batch(self, front: Api) -> None:
        keyed = {**BODY, "idempotencyKey": KEY["Idempotency-Key"]}
        answer = front.post("/v1/tasks/batch", {"tasks": [keyed]}, headers=KEY)
        assert answer.faults.keys() == {"/tasks/0/idempotencyKey"}
