"""Functions of Lambda as targets, behind an endpoint of our own."""

from __future__ import annotations

import json

import pytest

from taskqueue.core.reason import DeadReason
from taskqueue.core.task import TaskState
from taskqueue.store.database import Database
from tests.support.builders import submit_one
from tests.support.target import LocalTarget, answer
from tests.worker.conftest import Start
from tests.worker.running import ended


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that open nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


FUNCTION = {"target_url": "lambda://shop:live", "origin": "lambda://shop:0", "target_host": "shop"}


def test_a_function_is_invoked_and_its_result_kept(database: Database, target: LocalTarget, start: Start) -> None:
    target.then(answer(200, b'{"ok": true}'))
    task = submit_one(database, **FUNCTION)
    start(allowed_targets="", lambda_region="eu-west-1", lambda_endpoint=target.origin)
    done = ended(database, task)
    (hit,) = target.hits
    assert hit.path == "/2015-03-31/functions/shop/invocations?Qualifier=live"
    assert "/eu-west-1/lambda/aws4_request" in (hit.header("authorization") or "")
    assert done.state is TaskState.SUCCEEDED
    assert done.last_attempt is not None
    assert done.last_attempt.outcome.response is not None
    assert done.last_attempt.outcome.response.body == b'{"ok": true}'


def test_why_a_function_failed_is_on_record(database: Database, target: LocalTarget, start: Start) -> None:
    report = {"errorType": "Runtime.MarshalError", "errorMessage": "no JSON", "stackTrace": ["at one\n", "at two"]}
    target.then(answer(200, json.dumps(report).encode(), headers=(("X-Amz-Function-Error", "Unhandled"),)))
    task = submit_one(database, **FUNCTION)
    start(lambda_region="eu-west-1", lambda_endpoint=target.origin)
    dead = ended(database, task)
    assert dead.last_attempt is not None
    outcome = dead.last_attempt.outcome
    assert (outcome.cls.name, outcome.error_type, outcome.error_message) == (
        *("function_bad_result", "Runtime.MarshalError", "no JSON"),
    )
    assert outcome.stack == ("at one", "at two")


def test_a_function_that_does_not_exist_is_a_matter_of_configuration(
    database: Database, target: LocalTarget, start: Start
) -> None:
    target.then(answer(404, b'{"Message": "Function not found", "Type": "User"}'))
    task = submit_one(database, **FUNCTION)
    start(lambda_region="eu-west-1", lambda_endpoint=target.origin)
    dead = ended(database, task)
    assert dead.ending is not None
    assert (dead.ending.reason, dead.ending.cls) == (DeadReason.REJECTED, "function_config")
    assert dead.last_attempt is not None
    assert dead.last_attempt.outcome.error_message == "Function not found"
