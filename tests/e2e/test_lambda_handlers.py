"""Handlers that fail, run by Amazon's own runtime client: what the API says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faultlab.running import RunningLab, running_lab
from tests.faultlab.service import serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Row(NamedTuple):
    """What is known of one handler."""

    name: str
    cls: str
    error_type: str
    message: str
    partial: str
    reason: str = "rejected"


HANDLERS = (
    Row("raises", "function_error", "CardDeclined", "the card was declined", "possible"),
    Row("times-out", "function_timeout", "Sandbox.Timedout", "Task timed out after 2.00 seconds", "likely"),
    Row("runs-out-of-memory", "function_out_of_memory", "Runtime.ExitError", "signal: killed", "likely"),
    Row("exits", "function_crashed", "Runtime.ExitError", "exit status 3", "likely"),
    Row("crashes", "function_crashed", "Runtime.ExitError", "signal: segmentation fault", "likely"),
    Row("cannot-be-imported", "function_init_failed", "Runtime.ImportModuleError", "No module named", "no"),
    Row("has-no-handler", "function_init_failed", "Runtime.HandlerNotFound", "no_such_handler", "no"),
    Row("has-a-syntax-error", "function_init_failed", "Runtime.UserCodeSyntaxError", "Syntax error in module", "no"),
    Row("returns-no-json", "function_bad_result", "Runtime.MarshalError", "Unable to marshal response", "likely"),
    Row("returns-too-much", "function_bad_result", "Function.ResponseSizeTooLarge", "6291556 bytes", "likely"),
    Row("not-there", "function_config", "ResourceNotFoundException", "Function not found", "no"),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    with running_lab(function_seconds=2) as opened:
        yield opened


def test_a_failed_handler_is_told_apart_from_every_other(sqlite_url: str, tmp_path: Path, lab: RunningLab) -> None:
    with serving(sqlite_url, tmp_path, lab) as service:
        ids = {
            row: service.accept(targetUrl=f"lambda://{row.name}:live", payload={"n": 7}, retryPolicy="never")
            for row in HANDLERS
        }
        for row, task_id in ids.items():
            task = service.ended(task_id)
            (attempt,) = service.attempts(task_id)
            assert (task["status"], task["deadReason"]) == ("dead", row.reason), task
            assert (attempt["class"], attempt["errorType"]) == (row.cls, row.error_type), attempt
            assert row.message in attempt["errorMessage"]
            assert attempt["partialWork"] == row.partial
            assert task["error"]["type"] == row.error_type
        stack = service.attempts(ids[HANDLERS[0]])[0]["stackTrace"]
        assert any("in raises" in line for line in stack)


def test_a_handler_that_returns_has_done_its_task_and_knew_which_it_was(
    sqlite_url: str, tmp_path: Path, lab: RunningLab
) -> None:
    with serving(sqlite_url, tmp_path, lab) as service:
        done = service.accept(targetUrl="lambda://returns", payload={"n": 7}, headers={"Idempotency-Key": "mine"})
        event = service.accept(targetUrl="lambda://raises?invocation=event", payload={"n": 7})
        lying = service.accept(
            targetUrl="lambda://returns-an-error",
            payload={},
            verdict=[{"when": {"jsonPath": "$.status", "equals": "error"}, "outcome": "fail"}],
        )
        result = service.ended(done)["result"]
        handed_over = service.ended(event)
        lied = service.ended(lying)
    said: Any = json.loads(result["body"])
    assert said["event"] == {"n": 7}
    assert (said["told"]["Taskqueue-Task-Id"], said["told"]["Idempotency-Key"]) == (done, "mine")
    assert (handed_over["status"], handed_over["result"]["statusCode"]) == ("succeeded", 202)
    assert (lied["status"], lied["error"]["class"]) == ("dead", "verdict_fail")


def test_a_worker_without_keys_says_what_to_set_and_uses_up_no_retry(
    sqlite_url: str, tmp_path: Path, lab: RunningLab
) -> None:
    with serving(sqlite_url, tmp_path, lab, keys=False) as service:
        task_id = service.accept(targetUrl="lambda://returns", payload={})
        task = service.wait(task_id, lambda task: task["error"] is not None)
        attempt, *_ = service.attempts(task_id)
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in task["error"]["message"]
    assert (attempt["class"], attempt["errorType"], attempt["charged"]) == ("local_resource", "NotConfigured", False)


def test_a_task_that_lambda_could_not_take_is_refused_at_the_submit(
    sqlite_url: str, tmp_path: Path, lab: RunningLab
) -> None:
    refused = {
        "/method": {"targetUrl": "lambda://returns", "method": "PUT", "payload": {}},
        "/headers/X-Tenant": {"targetUrl": "lambda://returns", "headers": {"X-Tenant": "7"}},
        "/body": {"targetUrl": "lambda://returns", "body": "plain", "contentType": "text/plain"},
        "/targetUrl": {"targetUrl": "lambda://arn:aws:lambda:us-east-1:123456789012:function:orders"},
        "/webhookUrl": {"targetUrl": "lambda://returns", "webhookUrl": "lambda://returns"},
    }
    with serving(sqlite_url, tmp_path, lab) as service:
        for pointer, task in refused.items():
            status, problem = service.call("POST", "/v1/tasks", task)
            assert (status, [each["pointer"] for each in problem["errors"]]) == (422, [pointer]), problem
