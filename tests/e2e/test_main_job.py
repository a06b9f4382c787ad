"""What the service is for: a Lambda hands a job over HTTP, it is done with retries, and the end is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from taskqueue.cli.layer import build_layer
from tests.e2e.service import SECRET, Sink, serving
from tests.support.lambda_runtime import function
from tests.support.processes import environment, wait_until

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_job_from_a_lambda_is_done_and_its_end_is_told(database_url: str, tmp_path: Path, sink: Sink) -> None:
    build_layer(tmp_path / "layer.zip")
    with zipfile.ZipFile(tmp_path / "layer.zip") as packed:
        packed.extractall(tmp_path / "layer")
    with serving(database_url, tmp_path) as service:
        environ = {**environment(tmp_path, url=service.url), "APP_URL": sink.url}
        handler = function("lambda_handler.handler", code=EXAMPLES, layer=tmp_path / "layer", environment=environ)
        with handler as lambda_function:
            said = lambda_function.invoke({"id": "job-7"})
            again = lambda_function.invoke({"id": "job-7"}, request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            repeated = lambda_function.invoke({"id": "job-7"}, request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        assert said["statusCode"] == 202
        task_id = json.loads(said["body"])["id"]
        assert json.loads(again["body"])["id"] == json.loads(repeated["body"])["id"] != task_id
        wait_until(lambda: len(sink.hits("/api/on-complete")) == 2, what="two webhooks")
        told = service.get(f"/v1/tasks/{task_id}")
    work = {hit.headers["taskqueue-task-id"]: hit for hit in sink.hits("/api/process")}
    assert len(work) == len(sink.hits("/api/process")) == 2
    assert work[task_id].body == b'{"jobId":"job-7"}' or work[task_id].json == {"jobId": "job-7"}
    Webhook(SECRET).verify(work[task_id].body, dict(work[task_id].headers))
    (hook,) = [hit for hit in sink.hits("/api/on-complete") if hit.json["data"]["id"] == task_id]
    event = Webhook(SECRET).verify(hook.body, dict(hook.headers))
    assert event["type"] == "task.succeeded"
    assert event["data"]["result"]["statusCode"] == 200
    assert event["data"]["result"]["body"] == '{"done": true}'
    assert (told["status"], told["attempt"], told["result"]["statusCode"]) == ("succeeded", 1, 200)
