"""Whatever goes wrong, the caller gets a problem document that helps and gives nothing away."""

from __future__ import annotations

import io
import json
import time

import pytest

from taskqueue.config import Settings
from taskqueue.core.task import Task
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.service import Service
from tests.web.contract import Api
from tests.web.outage import stuck

TARGET = "https://target.example/work"


def test_every_answer_carries_a_request_id_of_its_own(api: Api) -> None:
    ids = {api.get(path).headers["x-request-id"] for path in ("/healthz", "/v1/tasks", "/nowhere", "/v1/tasks?x=1")}
    assert len(ids) == 4


def test_a_plain_request_id_is_taken_over_and_another_is_not(front: Api) -> None:
    for given, kept in (("trace-7.a:b", True), ("a" * 100, True), ("a" * 101, False), ("<x>", False), ("a b", False)):
        answer = front.call("GET", "/v1/nowhere", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) == kept
        assert answer.json["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/tasks/", "//v1/tasks", "/v1/schedules/nightly", "/v1/tasks/%2e%2e", "/dashboard"]
)
def test_a_path_that_is_not_there_is_a_404(front: Api, path: str) -> None:
    assert front.get(path).status == 404


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/v1/tasks/7", "what this path names is not a task id (a UUID)"),
        ("/v1/tasks/7/attempts", "what this path names is not a task id (a UUID)"),
        ("/v1/dead-letters/x", "what this path names is not a dead letter id (a UUID)"),
        ("/v1/operations/x", "what this path names is not an operation id (a UUID)"),
        ("/v1/tasks/", "did you mean /v1/tasks?"),
        ("/tasks", "did you mean /v1/tasks?"),
        ("/v1/dead_letters", "did you mean /v1/dead-letters?"),
        ("/v1/tasks/01a1fd2b-7e4c-73b7-9951-e4461c9bc5ed/attempt", "did you mean /v1/tasks/{id}/attempts?"),
        ("/v1/schedules/nightly", "there is nothing at this path; /openapi.json lists every path"),
        ("/" + "v1/tasks/" * 100, "there is nothing at this path; /openapi.json lists every path"),
    ],
)
def test_a_path_that_is_not_there_is_told_from_an_id_that_is_none(front: Api, path: str, sentence: str) -> None:
    answer = front.get(path)
    assert answer.status == 404
    assert sentence in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/tasks", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/healthz", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/tasks/batch", "OPTIONS, POST"),
    ],
)
def test_another_method_is_a_405_that_names_those_there_are(front: Api, method: str, path: str, allowed: str) -> None:
    answer = front.call(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed
    assert answer.json["detail"] == f"this path takes only {allowed}"


def test_options_names_the_methods_and_head_answers_like_get(front: Api) -> None:
    options = front.call("OPTIONS", "/v1/tasks")
    assert (options.status, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    head = front.call("HEAD", "/healthz")
    assert (head.status, head.content) == (200, b"")
    assert head.headers["content-length"] == front.get("/healthz").headers["content-length"]


def test_problems_repeat_little_of_what_was_sent(front: Api) -> None:
    piece = "Zq7" * 40
    bodies = [
        {piece: 1, "targetUrl": TARGET},
        {"targetUrl": f"https://{piece}.example/"},
        {"targetUrl": f"https://user:{piece}@target.example/"},
        {"targetUrl": TARGET, "headers": {piece: "\n"}},
        {"targetUrl": TARGET, "headers": {"Authorization": piece + "\n"}},
        {"targetUrl": TARGET, "method": piece},
        {"targetUrl": TARGET, "labels": [piece]},
        {"targetUrl": TARGET, "metadata": piece},
        {"targetUrl": TARGET, "backoff": {piece: {piece: 1}}},
    ]
    for body in bodies:
        answer = front.post("/v1/tasks", body)
        assert answer.status == 422
        assert piece[:100] not in answer.content.decode()
    assert piece[:100] not in front.post("/v1/tasks", f'{{"{piece}": 1, "{piece}": 2}}'.encode()).content.decode()
    assert piece[:100] not in front.get(f"/v1/{piece}").content.decode()
    assert piece[:100] not in front.get(f"/v1/tasks?{piece}=1").content.decode()


def test_a_store_that_cannot_commit_is_a_503_in_time(api: Api, database_url: str) -> None:
    for _ in range(2):
        with stuck(database_url):
            started = time.monotonic()
            answer = api.post("/v1/tasks", {"targetUrl": TARGET}, headers={"Idempotency-Key": "k"})
            assert time.monotonic() - started < 10  # two seconds, and a machine that has more to do
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1
    assert api.post("/v1/tasks", {"targetUrl": TARGET}, headers={"Idempotency-Key": "k"}).status == 202
    assert len(api.get("/v1/tasks").json["items"]) == 1


def test_a_stuck_store_delays_no_look_that_needs_none(api: Api, database_url: str) -> None:
    with stuck(database_url):
        assert api.get("/healthz").status == 200
        assert api.post("/v1/tasks", {"targetUrl": "x"}).status == 422


class Faulty(Service):
    """A service whose committer has a bug."""

    class Commits:
        def submit(self, _submission: object) -> Task:
            raise RuntimeError("s3cret row: " + TARGET)

        def close(self) -> None:
            pass

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__(settings, database)
        self.commits.close()
        self.commits = Faulty.Commits()  # type: ignore[assignment]


def test_a_fault_of_ours_is_logged_with_its_trace_and_told_without_it(
    settings: Settings, database: Database, log: io.StringIO
) -> None:
    service = Faulty(settings, database)
    client = create_app(service).test_client()
    response = client.post("/v1/tasks", json={"targetUrl": TARGET}, headers={"X-Request-Id": "r-7"})
    service.close()
    assert response.status_code == 500
    assert response.json is not None
    assert response.json["requestId"] == response.headers["X-Request-Id"] == "r-7"
    assert b"s3cret" not in response.data
    (line,) = log.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["request_id"], told["route"]) == ("request.fault", "r-7", "/v1/tasks")
    assert any("submit_task" in frame for frame in told["frames"])
    assert "s3cret" not in line
