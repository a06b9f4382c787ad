"""The examples, run as their readers will run them."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from taskqueue.cli.layer import build_layer
from tests.client.peer import TASK, accepts, is_silent, peer, problem
from tests.support.lambda_runtime import FunctionFailed, function

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer, unpacked as Lambda unpacks it."""
    directory = tmp_path_factory.mktemp("layer")
    build_layer(directory / "layer.zip")
    with zipfile.ZipFile(directory / "layer.zip") as packed:
        packed.extractall(directory)
    return directory


def test_the_handler_submits_a_task_and_answers_202(layer: Path) -> None:
    with peer(accepts()) as service, function_at(service.url, layer) as runtime:
        said = runtime.invoke({"id": "a1"}, request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd")
    assert said["statusCode"] == 202
    assert json.loads(said["body"]) == TASK
    (asked,) = service.asked
    assert asked.headers["idempotency-key"] == "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    assert asked.headers["authorization"] == "Bearer tq_of_the_function"
    assert asked.json == {
        "targetUrl": "https://app.example/api/process",
        "payload": {"jobId": "a1"},
        "webhookUrl": "https://app.example/api/on-complete",
        "retries": 3,
        "timeout": 120,
    }


def test_warm_invocations_share_one_connection_and_a_repeated_event_its_key(layer: Path) -> None:
    with peer(accepts()) as service, function_at(service.url, layer) as runtime:
        for request_id in ("first", "second", "second"):
            runtime.invoke({"id": "a1"}, request_id=request_id)
    assert {asked.connection for asked in service.asked} == {1}
    assert [asked.headers["idempotency-key"] for asked in service.asked] == ["first", "second", "second"]


@pytest.mark.parametrize("answer", [is_silent, problem(503, "Busy", Retry_After="1")], ids=["silent", "busy"])
def test_the_handler_fails_while_there_is_time_to_say_so(layer: Path, answer: Any) -> None:
    with peer(accepts(), answer) as service, function_at(service.url, layer) as runtime:
        runtime.invoke({"id": "warm"})
        took = []
        for _ in range(3):  # the machine may be late itself, but hardly three times
            began = time.monotonic()
            with pytest.raises(FunctionFailed, match=r"Unreachable|ApiError") as caught:
                runtime.invoke({"id": "a1"}, limit=1.5)
            took.append(time.monotonic() - began)
            if took[-1] < 1.5:
                break
        assert min(took) < 1.5
    assert "tq_of_the_function" not in json.dumps(caught.value.report)


def test_the_target_does_the_work_once_and_only_for_the_queue() -> None:
    with app("target") as url:
        told = signed({"jobId": "a1"})
        first = post(url + "/api/process", told, {"Idempotency-Key": "task-1"})
        again = post(url + "/api/process", told, {"Idempotency-Key": "task-1"})
        forged = post(url + "/api/process", (told[0], told[1] | {"webhook-id": "other"}), {"Idempotency-Key": "task-2"})
    assert first == again == (200, {"processed": "a1"})
    assert forged[0] == 401


def test_the_receiver_hears_a_webhook_once_and_only_from_the_queue() -> None:
    event = {"type": "task.succeeded", "data": {"id": "t-1", "attempt": 2}}
    with app("webhook_receiver") as url:
        told = signed(event)
        assert post(url + "/api/on-complete", told) == (204, None)
        assert post(url + "/api/on-complete", told) == (204, None)
        assert post(url + "/api/on-complete", (told[0] + b" ", told[1]))[0] == 401


def function_at(url: str, layer: Path) -> Any:
    """The handler of the examples, submitting to the service at ``url``."""
    environment = {"TASKQUEUE_URL": url, "TASKQUEUE_API_KEY": "tq_of_the_function", "APP_URL": "https://app.example"}
    return function("lambda_handler.handler", code=EXAMPLES, layer=layer, environment=environment)


@contextmanager
def app(name: str) -> Iterator[str]:
    """An example application in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "flask", "--app", f"examples/{name}", "run", "--port", "0"]
    environment = os.environ | {"TASKQUEUE_SIGNING_SECRET": SECRET, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=EXAMPLES.parent, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield _url_in(process)
        finally:
            process.kill()


def _url_in(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said, until = b"", time.monotonic() + 60
    while not (found := re.search(rb"Running on (http://[0-9.:]+)", said)):
        assert select.select([process.stderr], [], [], until - time.monotonic())[0], said
        piece = os.read(process.stderr.fileno(), 65536)
        assert piece, said
        said += piece
    return found[1].decode()


def signed(value: Any) -> tuple[bytes, dict[str, str]]:
    """A body and its headers, as the service would send them."""
    body, now = json.dumps(value).encode(), datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg-1", now, body.decode())
    headers = {"webhook-id": "msg-1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    return body, headers | {"Content-Type": "application/json"}


def post(url: str, told: tuple[bytes, dict[str, str]], more: dict[str, str] | None = None) -> tuple[int, Any]:
    body, headers = told
    request = urllib.request.Request(url, body, headers | (more or {}))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())
