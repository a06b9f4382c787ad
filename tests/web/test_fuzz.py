"""Nothing that can be sent is a fault of ours, and nothing is accepted that the document forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.config import Settings
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.models import SubmitTask
from taskqueue.web.service import Service
from tests.support.databases import SqliteTemplate
from tests.web.contract import Api, Document

FIELDS = [
    *(name for name in Document().whole["components"]["schemas"]["SubmitTask"]["properties"]),
    *SubmitTask.NOT_BUILT,
]
TEXTS = st.sampled_from(
    [
        *("", "a", "1m30s", "2h", "POST", "GET", "text/plain", "2030-01-01T00:00:00Z", "0001-01-01T00:00:00+23:00"),
        *("https://a.example/", "http://127.0.0.1/", "lambda://f", "https://[::1]:80/", "https://ä.example"),
        *("eA==", "\u0000", "\udfff", "🧀", "never", "timeout", "*", "status:5xx", "partial:likely", "$.a[0]", "dead"),
    ]
)
LEAVES = (
    TEXTS
    | st.text(max_size=12)
    | st.integers()
    | st.sampled_from([0, 1, 3.0, 0.1, 1e308, -1, 10**30, True, False, None])
)
NAMES = st.sampled_from(
    [
        *("type", "initial", "max", "schedule", "X-A", "Host", "é", "match", "retries", "within", "backoff", "charge"),
        *("when", "outcome", "status", "header", "jsonPath", "equals", "in", "exists", "glob", "url", "onUnknown"),
        *("task", "targetUrl", "onFailure"),
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
FOLLOW_UPS = st.fixed_dictionaries(
    {"task": st.fixed_dictionaries({"targetUrl": st.just("https://a.example/")}, optional={"payload": VALUES})}
)
RULES = st.lists(
    st.fixed_dictionaries({"match": st.lists(TEXTS, max_size=2)}, optional={"retries": LEAVES, "backoff": VALUES}),
    max_size=2,
)
VERDICTS = st.lists(
    st.fixed_dictionaries(
        {
            "when": st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=2), max_size=3),
            "outcome": st.sampled_from(["success", "retry", "fail", "defer", "die"]),
        }
    ),
    max_size=2,
)
POLICIES = st.fixed_dictionaries(
    {}, optional={"onFailure": FOLLOW_UPS, "onSuccess": FOLLOW_UPS, "retryPolicy": RULES, "verdict": VERDICTS}
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5) | POLICIES
SOUND = st.fixed_dictionaries({"targetUrl": st.just("https://target.example/")})


@pytest.fixture(scope="module")
def fuzzed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    template: SqliteTemplate = request.getfixturevalue("_sqlite_template")
    database = Database.open(template.copy(tmp_path_factory.mktemp("fuzz")))
    service = Service(Settings(), database)
    yield Api(create_app(service))
    service.close()
    database.close()


@settings(max_examples=300, deadline=None)
@given(BODIES, st.booleans() | SOUND)
def test_any_fields_are_accepted_or_refused(fuzzed: Api, fields: dict[str, Any], sound: dict[str, str] | bool) -> None:
    body = {**fields, **(sound if isinstance(sound, dict) else {})}
    answer = fuzzed.post("/v1/tasks", json.dumps(body).encode())
    assert answer.status in (202, 422)
    if answer.status == 202:
        assert fuzzed.document.valid("SubmitTask", body)
        assert fuzzed.get(answer.headers["location"]).status == 200


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200) | BODIES.map(lambda body: json.dumps(body).encode()[:-1]),
    st.sampled_from(["/v1/tasks", "/v1/tasks/batch", "/v1/dead-letters/redrive"]),
)
def test_any_bytes_are_refused(fuzzed: Api, body: bytes, path: str) -> None:
    assert 400 <= fuzzed.post(path, body).status < 500


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["/v1/tasks", "/v1/dead-letters"]),
    st.dictionaries(
        st.sampled_from(
            [
                "status",
                "queue",
                "label",
                "class",
                "reason",
                "cursor",
                "limit",
                "createdAfter",
                "after",
                "targetHost",
                "outcome",
                "includeRedriven",
            ]
        ),
        LEAVES.map(str),
        max_size=4,
    ),
)
def test_any_conditions_are_looked_for_or_refused(fuzzed: Api, path: str, query: dict[str, str]) -> None:
    query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    assert fuzzed.get(path, **query).status in (200, 422)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["Idempotency-Key", "X-Request-Id", "traceparent", "Content-Encoding"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    )
)
def test_any_headers_are_taken_or_refused(fuzzed: Api, headers: dict[str, str]) -> None:
    answer = fuzzed.post("/v1/tasks", {"targetUrl": "https://target.example/"}, headers=headers)
    assert answer.status in (202, 415, 422)
