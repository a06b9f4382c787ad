"""What a caller gets to see of an answer, good or bad."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Callable

import pytest

from taskqueue.client import ApiError, TaskQueue, TaskQueueError, Unreachable
from tests.client.peer import TASK, Answer, Peer, accepts, peer, problem, says, sends, then_hangs_up

Client = Callable[..., TaskQueue]
URL = "https://your-app.example/api/process"
KEY = "tq_0123456789abcdef"


def test_a_task_gives_back_the_very_text_of_its_answer(client_of: Client) -> None:
    text = json.dumps(TASK, indent=1).replace('"attempt": 0', '"attempt": 0, "payload": [1.0, 1e400, "\\u00e9"]')
    with peer(says(202, text)) as service:
        task = client_of(service).tasks.create(target_url=URL)
    assert task.to_json() == text
    assert str(task) == f"<Task {TASK['id']} queued>"
    assert task.raw["payload"][0] == 1.0


def test_a_task_that_came_as_one_of_many_prints_as_json_too(client_of: Client) -> None:
    with peer(says(202, {"tasks": [TASK]})) as service:
        (task,) = client_of(service).tasks.create_many([{"target_url": URL}])
    assert json.loads(task.to_json()) == TASK


def test_a_task_that_ended_tells_how(client_of: Client) -> None:
    error = {"class": "timeout", "message": "cut at 30 s", "partialWork": "likely"}
    dead = {"status": "dead", "attempt": 4, "error": error, "deadReason": "exhausted"}
    with peer(says(200, TASK | dead)) as service:
        task = client_of(service).tasks.get(TASK["id"])
    assert (task.ended, task.status, task.attempt, task.error, task.dead_reason) == (
        True,
        "dead",
        4,
        error,
        "exhausted",
    )


def test_a_problem_is_told_with_every_pointer(client_of: Client) -> None:
    faults = [("/timeout", "expected a span of 100ms to 12h"), ("/retires", "unknown field; did you mean retries?")]
    with peer(problem(422, "A field cannot be accepted", *faults)) as service, pytest.raises(ApiError) as caught:
        client_of(service).tasks.create(target_url=URL)
    assert str(caught.value) == (
        "422 · A field cannot be accepted · /timeout: expected a span of 100ms to 12h"
        " · /retires: unknown field; did you mean retries?"
    )
    assert caught.value.problem["errors"][1]["pointer"] == "/retires"


@pytest.mark.parametrize(
    "answer",
    [
        says(502, "<html>Bad Gateway</html>", Content_Type="text/html"),
        says(301, "", Location="https://elsewhere.example/"),
        says(200, "<html>Welcome to the airport</html>"),
        says(200, "[]"),
        says(200, {"hello": "world"}),
        says(202, ""),
        says(404, b"\xff\xfe"),
        says(500, "null"),
    ],
    ids=["502-html", "redirect", "200-html", "200-list", "200-other", "202-empty", "404-binary", "500-null"],
)
def test_an_answer_that_is_not_the_services_says_to_check_the_url(client_of: Client, answer: Answer) -> None:
    with peer(answer) as service, pytest.raises(ApiError, match="check its URL"):
        client_of(service).tasks.create(target_url=URL)


@pytest.mark.parametrize("errors", ["none", 7, ["plain words"], [{"no": "pointer"}], None])
def test_a_problem_in_another_dialect_is_told_all_the_same(client_of: Client, errors: object) -> None:
    with peer(says(400, {"title": "Bad", "errors": errors})) as service, pytest.raises(ApiError, match="400 · Bad"):
        client_of(service).tasks.create(target_url=URL)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n{",
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 202 Accepted\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"\x16\x03\x01\x00",
    ],
    ids=["ssh", "cut", "bad-chunk", "many-headers", "bad-status", "tls"],
)
def test_what_is_not_http_counts_as_no_answer(client_of: Client, raw: bytes) -> None:
    with peer(then_hangs_up(sends(raw)), accepts()) as service:
        assert client_of(service).tasks.create(target_url=URL).id == TASK["id"]
    with peer(then_hangs_up(sends(raw))) as service, pytest.raises(Unreachable) as caught:
        client_of(service).tasks.cancel(TASK["id"])
    assert caught.value.indeterminate


def test_a_refusal_of_a_large_body_is_heard_though_the_body_was_not_read(client_of: Client) -> None:
    with Refusing() as service, pytest.raises(ApiError, match="too large"):
        client_of(service).tasks.create(target_url=URL, payload="x" * 20_000_000)


def test_no_error_holds_the_api_key_even_if_the_peer_echoes_the_request(client_of: Client) -> None:
    echoes = says(400, {"title": "echo", "detail": f"Authorization: Bearer {KEY}", "errors": [{"pointer": KEY}]})
    with peer(echoes) as service, pytest.raises(ApiError) as caught:
        client_of(service, KEY).tasks.create(target_url=URL)
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert KEY not in told
    assert "Bearer ***" in told


def test_nothing_prints_the_api_key(client_of: Client) -> None:
    with peer(accepts()) as service:
        queue = client_of(service, KEY)
    with pytest.raises(Unreachable) as caught:
        queue.tasks.create(target_url=URL)
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(queue) + repr(queue.tasks)


@pytest.mark.parametrize("key", ["tq_\n0123", "tq_é", "tq_\x00"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(TaskQueueError, match="TASKQUEUE_API_KEY") as caught:
        TaskQueue("http://127.0.0.1:1", key)
    assert key not in str(caught.value)


def test_the_line_end_of_a_file_that_held_the_key_does_no_harm(client_of: Client) -> None:
    with peer(accepts()) as service:
        client_of(service, "tq_x\n").tasks.create(target_url=URL)
    assert service.asked[0].headers["authorization"] == "Bearer tq_x"


@pytest.mark.parametrize(
    "url",
    [
        "queue.example",
        "ftp://queue.example",
        "http://",
        "http://u:secret@h",
        "http://h?a=secret",
        "http://h/#f",
        "http://é",
    ],
)
def test_a_url_that_cannot_be_the_service_is_refused_at_once(url: str) -> None:
    with pytest.raises(TaskQueueError, match=r"write it like http://127\.0\.0\.1:8484") as caught:
        TaskQueue(url)
    assert "secret" not in str(caught.value)


class Refusing(Peer):
    """Answers 413 when it has seen the head of a request, and closes."""

    def __enter__(self) -> Refusing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.recv(1024)
        problem(413, "The request body is too large")(connection)
        connection.close()
