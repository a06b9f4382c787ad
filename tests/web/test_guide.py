"""The guide to the API: its examples work as written, and it names everything there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from taskqueue.store.database import Database
from taskqueue.web.app import OPERATIONS
from taskqueue.web.key_models import CreateApiKey, CreateProject, RotateApiKey
from taskqueue.web.models import FindDeadLetters, FindTasks, OnFailure, OnSuccess, Redrive, RedriveMany, SubmitTask
from taskqueue.web.policies import Reconcile, RetryRule
from taskqueue.web.queue_models import DefineFlowKey, DefineQueue, RateLimit
from taskqueue.web.reading import Model
from taskqueue.web.verdicts import VerdictRule, VerdictWhen
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, settle_one
from tests.web.contract import Api, Document
from tests.web.curl import sections

GUIDE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
MODELS = (SubmitTask, FindTasks, FindDeadLetters, Redrive, RedriveMany, DefineQueue, DefineFlowKey, RateLimit)
KEYS = (CreateApiKey, RotateApiKey, CreateProject)
NAMED = set(re.findall(r"`([A-Za-z0-9]+)(?:=\w+)?`", GUIDE))


def test_the_examples_work_in_the_order_they_stand_in(api: Api, database: Database) -> None:
    variables = {"API": "http://127.0.0.1:8484"}
    ran = 0
    for heading, commands in sections(GUIDE):
        if heading == "Dead letters":
            variables["DEAD"] = dead_letter(api, database)
        for curl in commands:
            answer = api.call(curl.method, curl.path(variables), data=curl.body, headers=list(curl.headers.items()))
            expected = [curl.expected] if curl.expected else [200, 201, 202, 204]
            assert answer.status in expected, f"{heading}: {curl} was answered {answer.content!r}"
            location = answer.headers.get("location", "")
            if location.startswith("/v1/"):
                kind, _, id_ = location.removeprefix("/v1/").partition("/")
                variables[{"tasks": "TASK", "operations": "OPERATION", "api-keys": "KEY"}[kind]] = id_
            ran += 1
    assert ran > 20


def test_the_guide_shows_the_very_problem_that_its_example_gets(api: Api) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    fields = {"targetUrl": "https://your-app.example/", "retires": 5, "timeout": 0}
    shown = json.loads(example)
    answer = api.post("/v1/tasks", fields, headers={"X-Request-Id": shown["requestId"]})
    assert answer.json == shown


@pytest.mark.parametrize(
    "model", [*MODELS, *KEYS, RetryRule, VerdictRule, VerdictWhen, Reconcile, OnFailure, OnSuccess]
)
def test_every_field_is_named(model: type[Model], document: Document) -> None:
    fields = set(document.whole["components"]["schemas"][model.__name__]["properties"])
    assert fields - NAMED == set()


def test_every_path_is_called() -> None:
    called = {
        (curl.method, _generic(curl.url.removeprefix("$API").partition("?")[0]))
        for _, commands in sections(GUIDE)
        for curl in commands
    }
    assert {(operation.method, operation.path) for operation in OPERATIONS} - called == set()


def _generic(path: str) -> str:
    path = re.sub(r"\$(TASK|DEAD|OPERATION|KEY)", "{id}", path)
    path = re.sub(r"(?<=/v1/queues/)[^/]+", "{name}", path)
    return re.sub(r"(?<=/v1/flow-keys/).+?(?=(/pause|/resume|/purge)?$)", "{key}", path)


def test_nothing_is_named_that_is_not_built() -> None:
    assert not NAMED & SubmitTask.NOT_BUILT


def dead_letter(api: Api, database: Database) -> str:
    """The id of a dead letter whose task was rejected."""
    while True:
        task = claim_one(database)
        settle_one(database, task, answered(400))
        letters = api.get("/v1/dead-letters").json["items"]
        if letters:
            return str(letters[0]["id"])
