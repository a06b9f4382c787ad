"""The pages on outcomes and policies: their tables are made from the code, and every example works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from taskqueue.cli import main
from taskqueue.cli.outcomes import GROUPS, documentation
from taskqueue.core.answer import read_answer
from taskqueue.core.outcome import CLASSES, Response, Timings
from taskqueue.core.pattern import Facts, matches
from taskqueue.core.policy import PRESETS
from taskqueue.core.reason import DeadReason
from taskqueue.store.database import Database
from taskqueue.web.policies import RetryRule, rules_of
from taskqueue.web.problems import Faults
from taskqueue.web.reading import read
from tests.support.builders import claim_all
from tests.web.contract import Api
from tests.web.curl import sections

DOCS = Path(__file__).parents[2] / "docs"
OUTCOMES, POLICIES = ((DOCS / name).read_text() for name in ("outcomes.md", "policies.md"))
PRESET = re.compile(r"^(?:.*?)`([a-z-]+)` is[^\n]*:\n\n```json\n(.*?)```", re.DOTALL | re.MULTILINE)
ANSWER = re.compile(r"^### `(\w+)`\n\n```http\nHTTP/1\.1 (\d{3})[^\n]*\n(.*?)\n\n(.*?)\n```", re.DOTALL | re.MULTILINE)
CODE = [file for name in ("core", "delivery", "worker") for file in (DOCS.parent / "taskqueue" / name).glob("*.py")]
GIVEN = (
    re.compile(r'(?:failed|Failed|Fault)\(\s*[\w."]+,\s*"(\w+)"'),
    re.compile(r'error_type="(?!Supposed)(\w+)"'),
    re.compile(r'(?:or|=|,) "(X-Amz-Function-Error|ConnectionClosed)"'),
)
SIMULATION = re.compile(r"^(taskqueue simulate .*)$", re.MULTILINE)
RULE = re.compile(r'`(\{"match": .*?\})`(?= \||[.;]|$)', re.MULTILINE)


def test_the_tables_of_outcomes_are_up_to_date() -> None:
    assert documentation(OUTCOMES) == OUTCOMES, "run: make docs"


def test_the_tables_hold_every_class_once() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(named) == sorted(CLASSES)


@pytest.mark.parametrize(("name", "status", "head", "body"), ANSWER.findall(OUTCOMES))
def test_an_answer_of_lambda_is_read_as_the_page_says(name: str, status: str, head: str, body: str) -> None:
    headers = (line.split(": ", 1) for line in head.splitlines())
    response = Response(int(status), tuple((key.lower(), value) for key, value in headers), body.encode())
    outcome = read_answer(
        response, complete=True, timings=Timings(), bytes_sent=1, bytes_received=len(body), invoked=True
    )
    assert outcome.cls.name == name
    assert set(json.loads(body)) & {"errorType", "errorMessage", "Message", "message"}


def test_the_error_that_the_policies_rules_name_is_read_from_the_answer_that_is_shown() -> None:
    ((status, head, body),) = re.findall(r"```http\nHTTP/1\.1 (\d{3})[^\n]*\n(.*?)\n\n(.*?)\n```", POLICIES, re.DOTALL)
    name, value = head.split(": ")
    response = Response(int(status), ((name.lower(), value),), body.encode())
    outcome = read_answer(response, complete=True, timings=Timings(), bytes_sent=1, bytes_received=len(body))
    assert (outcome.cls.name, outcome.error_type) == ("conflict", "CardDeclined")
    assert matches(["errorType:CardDeclined*"], Facts.of(outcome))


def test_every_failure_of_lambda_has_its_example() -> None:
    shown = {name for name, *_ in ANSWER.findall(OUTCOMES)}
    assert shown == {*GROUPS["Lambda"], "throttled", "bad_request"}


def test_the_presets_are_the_rules_that_the_page_shows() -> None:
    shown = dict(PRESET.findall(POLICIES))
    assert shown.keys() == {name for name, rules in PRESETS.items() if rules}
    for name, text in shown.items():
        faults = Faults()
        asked = [read(bytes(rule), RetryRule, faults) for rule in msgspec.json.decode(text, type=list[msgspec.Raw])]
        assert not faults
        assert rules_of([rule for rule in asked if rule is not None], faults) == PRESETS[name]


@pytest.mark.parametrize("rule", RULE.findall(OUTCOMES + POLICIES))
def test_a_rule_in_the_text_is_one(front: Api, rule: str) -> None:
    answer = front.post("/v1/retry-policies/simulate", {"retryPolicy": [json.loads(rule)]})
    assert answer.status == 200, answer.content


def test_the_examples_of_policies_work_in_the_order_they_stand_in(api: Api, database: Database) -> None:
    variables, ran = {"API": "http://127.0.0.1:8484", "TASK": ""}, 0
    variables["TASK"] = api.submit()["id"]
    for _, commands in sections(POLICIES):
        for curl in commands:
            answer = api.call(curl.method, curl.path(variables), data=curl.body, headers=list(curl.headers.items()))
            assert answer.status in (200, 202), f"{curl} was answered {answer.content!r}"
            ran += 1
    assert ran >= 6
    assert len(claim_all(database)) == 5


def test_the_examples_of_outcomes_work(api: Api) -> None:
    commands = [curl for _, found in sections(OUTCOMES) for curl in found]
    assert commands
    for curl in commands:
        answer = api.call(curl.method, curl.path({"API": ""}), data=curl.body, headers=list(curl.headers.items()))
        assert answer.status in (200, 202), f"{curl} was answered {answer.content!r}"


@pytest.mark.parametrize("command", SIMULATION.findall(POLICIES + OUTCOMES))
def test_a_simulation_of_a_page_runs(command: str) -> None:
    _, *arguments = shlex.split(command)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("page", [POLICIES, OUTCOMES])
def test_a_page_shows_what_its_first_simulation_prints(page: str) -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    _, *arguments = shlex.split(SIMULATION.findall(page)[0])
    assert CliRunner().invoke(main, arguments).output == shown


def test_every_reason_to_die_is_explained() -> None:
    _, _, section = OUTCOMES.partition("### Why a task is dead")
    rows = re.findall(r"^\| `(\w+)` \| (?!when)", section.partition("### ")[0], re.MULTILINE)
    assert sorted(rows) == sorted(DeadReason)


def test_every_error_type_that_the_code_gives_is_listed() -> None:
    _, _, section = OUTCOMES.partition("### What `errorType` can be")
    listed = set(re.findall(r"`([\w-]+)`", section.partition("## ")[0]))
    given = {name for file in CODE for pattern in GIVEN for name in pattern.findall(file.read_text())}
    assert {"HTTPStatus", "DeadlinePassed", "NameNotFound", "LeaseLapsed"} <= given <= listed


def test_the_endpoint_of_the_page_answers_as_a_reconcile_url_must() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", POLICIES, re.DOTALL)
    namespace: dict[str, object] = {"__name__": "page"}
    exec(program, namespace)
    client = namespace["app"].test_client()  # type: ignore[attr-defined]
    for order, state in ((7, "done"), (8, "not-done")):
        answer = client.post("/was-it-paid", json={"task": {}, "payload": {"order": order}})
        assert answer.json["state"] == state
