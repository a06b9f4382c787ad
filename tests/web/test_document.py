"""The OpenAPI document is valid, whole, and says what the code does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from taskqueue.web.app import OPERATIONS
from taskqueue.web.models import SubmitTask
from tests.web.contract import Api, Document
from tests.web.test_reading import faults_of


def test_the_document_is_valid_openapi(document: Document) -> None:
    validate(document.whole)


def test_the_document_is_served(api: Api, document: Document) -> None:
    answer = api.get("/openapi.json")
    assert answer.json == document.whole
    assert answer.json["openapi"].startswith("3.1")


def test_every_operation_is_told_in_words(document: Document) -> None:
    for path, operations in document.whole["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)


def test_operation_ids_are_unique() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


def test_every_field_of_a_submit_is_described(document: Document) -> None:
    fields = document.whole["components"]["schemas"]["SubmitTask"]["properties"]
    assert fields.keys() >= SubmitTask.ALIASES.keys()
    assert not fields.keys() & SubmitTask.NOT_BUILT
    assert [name for name, field in fields.items() if "$ref" not in field and not field.get("description")] == []


def test_examples_are_accepted_by_the_service(api: Api, document: Document) -> None:
    for path, operations in document.whole["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            example = content.get("application/json", {}).get("example")
            if example is not None and "{id}" not in path:
                asked = {"data": json.dumps(example), "content_type": "application/json"}
                answer = api.call(method.upper(), re.sub(r"\{\w+\}", "mail", path), **asked)
                assert answer.status in (200, 201, 202), (method, path)


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": "1m30s"},
        {"timeout": 0.1},
        {"timeout": 0},
        {"timeout": True},
        {"timeout": "soon"},
        {"retries": 100},
        {"retries": 101},
        {"retries": "3"},
        {"queue": "mail"},
        {"queue": "-mail"},
        {"labels": ["a"]},
        {"labels": [""]},
        {"labels": ["a"] * 17},
        {"method": "PUT"},
        {"method": "put"},
        {"headers": {"A": "b"}},
        {"headers": {"A": 1}},
        {"payload": [None]},
        {"metadata": {"a": 1}},
        {"backoff": {"type": "schedule", "schedule": ["1s", 2]}},
        {"backoff": {"type": "schedule", "schedule": []}},
        {"webhookEvents": ["dead"]},
        {"webhookEvents": ["born"]},
        {"idempotencyKey": "a b"},
        {"runAt": "2030-01-01T00:00:00Z"},
        {"runAt": "tomorrow"},
        {"retires": 3},
        {"maxRetries": 3},
        {"priority": 3},
        {"priority": 10},
        {"flowKey": "https://target.example:443"},
        {"flowKey": "smtp relay"},
        {"flowKey": "k" * 257},
        {"redact": ["body"]},
        {"orderingKey": "a\u0000"},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_the_document_lets_through_what_the_service_reads(document: Document, fields: dict[str, Any]) -> None:
    value = {"targetUrl": "https://target.example/work", **fields}
    assert document.valid("SubmitTask", value) == (faults_of(**fields) == {})


def test_a_target_may_be_named_in_either_spelling_or_by_the_queue(document: Document) -> None:
    for body in ({"callbackUrl": "https://target.example/"}, {"payload": 1}):
        assert document.valid("SubmitTask", body)
