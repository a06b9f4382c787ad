"""A batch is accepted whole or not at all."""

from __future__ import annotations

import pytest

from tests.web.contract import Api

TARGET = "https://target.example/work"


def test_a_batch_is_answered_in_its_order(api: Api) -> None:
    asked = [{"targetUrl": TARGET, "labels": [str(number)], "payload": number} for number in range(25)]
    answer = api.post("/v1/tasks/batch", {"tasks": asked})
    assert answer.status == 202
    assert [task["labels"] for task in answer.json["tasks"]] == [[str(number)] for number in range(25)]
    assert all("payload" not in task for task in answer.json["tasks"])
    assert api.get(f"/v1/tasks/{answer.json['tasks'][7]['id']}").json["payload"] == 7


def test_payloads_of_a_batch_are_kept_byte_for_byte(api: Api) -> None:
    item = b'{"targetUrl":"%s","payload": {"a":1.00, "a":"\\ud800"} }' % TARGET.encode()
    answer = api.post("/v1/tasks/batch", b'{ "tasks" : [' + item + b" , " + item + b"]}")
    for task in answer.json["tasks"]:
        assert b'"payload":{"a":1.00, "a":"\\ud800"}' in api.get(f"/v1/tasks/{task['id']}").content


def test_one_bad_task_refuses_the_batch_and_all_bad_ones_are_named(api: Api) -> None:
    answer = api.post(
        "/v1/tasks/batch",
        {
            "tasks": [
                {"targetUrl": TARGET},
                {"targetUrl": TARGET, "timeout": 0},
                {"retries": 1},
                3,
                {"callbackUrl": "http://127.0.0.1/", "payload": 1, "body": "x"},
            ]
        },
    )
    assert answer.status == 422
    assert answer.faults.keys() == {
        "/tasks/1/timeout",
        "/tasks/2/targetUrl",
        "/tasks/3",
        "/tasks/4/callbackUrl",
        "/tasks/4/body",
    }
    assert api.get("/v1/tasks").json["items"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tasks": []}, "/tasks"),
        ({"tasks": [{"targetUrl": TARGET}] * 1001}, "/tasks"),
        ({"tasks": {"targetUrl": TARGET}}, "/tasks"),
        ({}, "/tasks"),
        ({"tasks": [{"targetUrl": TARGET}], "task": []}, "/task"),
        ([{"targetUrl": TARGET}], ""),
    ],
)
def test_a_body_that_is_no_batch_is_refused(front: Api, body: object, pointer: str) -> None:
    answer = front.post("/v1/tasks/batch", body)
    assert answer.status == 422
    assert list(answer.faults) == [pointer]


def test_a_thousand_tasks_are_accepted(api: Api) -> None:
    answer = api.post("/v1/tasks/batch", {"tasks": [{"targetUrl": TARGET}] * 1000})
    assert answer.status == 202
    assert len({task["id"] for task in answer.json["tasks"]}) == 1000


def test_a_key_that_comes_twice_in_one_task_is_a_400(front: Api) -> None:
    body = b'{"tasks": [{"targetUrl": "https://a.example/", "targetUrl": "https://b.example/"}]}'
    assert front.post("/v1/tasks/batch", body).status == 400


def test_a_batch_may_be_larger_than_a_task_but_not_endless(api: Api) -> None:
    large = {"targetUrl": TARGET, "payload": "x" * 100_000}
    assert api.post("/v1/tasks", large).status == 413
    assert api.post("/v1/tasks/batch", {"tasks": [large] * 5}).status == 202
    assert api.post("/v1/tasks/batch", {"tasks": [large] * 11}).status == 413
