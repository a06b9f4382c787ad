"""The page on queues: its examples work, in the order they stand in, and it names every field."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click import Command, Context, Group

from taskqueue.cli import main
from taskqueue.store.database import Database
from taskqueue.web.queue_models import DefineFlowKey, DefineQueue, RateLimit
from taskqueue.web.queue_resources import DepthResource, StatsResource
from tests.support.builders import claim_all
from tests.web.contract import Api, Document
from tests.web.curl import sections

PAGE = (Path(__file__).parents[2] / "docs" / "queues.md").read_text()
NAMED = set(re.findall(r"`([A-Za-z]+)(?:\.\w+)?`", PAGE))


def test_the_examples_work_in_the_order_they_stand_in(api: Api, database: Database) -> None:
    variables, ran = {"API": "http://127.0.0.1:8484"}, 0
    for _, commands in sections(f"## Introduction\n{PAGE}"):
        for curl in commands:
            answer = api.call(curl.method, curl.path(variables), data=curl.body, headers=list(curl.headers.items()))
            assert answer.status in ([curl.expected] if curl.expected else [200, 202, 204]), (curl, answer.content)
            if answer.headers.get("location", "").startswith("/v1/operations/"):
                variables["OPERATION"] = answer.headers["location"].rpartition("/")[2]
            ran += 1
    assert ran > 15
    retries = {task.spec.queue: task.spec.retries for task in claim_all(database)}
    assert retries == {"mail": 8, "payments": 2}


@pytest.mark.parametrize("model", [DefineQueue, DefineFlowKey, RateLimit])
def test_every_field_is_named(model: type, document: Document) -> None:
    fields = set(document.whole["components"]["schemas"][model.__name__]["properties"]) - {"onDeath"}
    assert fields - NAMED - {"period", "burst", "limit"} == set()


def test_every_figure_is_explained() -> None:
    figures = {*DepthResource.__annotations__, *StatsResource.__annotations__} - {"capped"}
    assert figures - NAMED == set()


@pytest.mark.parametrize("command", re.findall(r"^taskqueue (.*)$", PAGE, re.MULTILINE))
def test_a_command_can_be_typed_as_it_is_shown(command: str) -> None:
    name, verb, *arguments = shlex.split(command)
    group = main.get_command(Context(main), name)
    assert isinstance(group, Group)
    found = group.get_command(Context(group), verb)
    assert isinstance(found, Command)
    found.make_context(verb, arguments)  # raises for what it does not take
