"""Cursors that somebody made up: another page of nothing, or a refusal, and never a fault of ours."""

from __future__ import annotations

import json

import pytest

from taskqueue.store.search import seal
from tests.web.contract import Api

LISTS = (
    "/v1/tasks",
    "/v1/dead-letters",
    "/v1/dead-letters/groups",
    "/v1/queues",
    "/v1/flow-keys",
    "/v1/breakers",
    "/v1/queues/mail/blocks",
    "/v1/api-keys",
    "/v1/projects",
)
PLACES = (
    b"",
    b"\0",
    b"a\0b",
    b"\xff\xfe",
    b"a" * 4000,
    bytes(16),
    b"9" * 30 + b" ab",
    json.dumps(["a\0b", 3]).encode(),
    json.dumps(["a", 2**70]).encode(),
    json.dumps(["a", -1]).encode(),
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: repr(place[:12]))
def test_a_forged_cursor_is_refused_or_leads_nowhere(api: Api, place: bytes) -> None:
    assert api.put("/v1/queues/mail", {}).status == 200
    for path in LISTS:
        answer = api.get(path, cursor=seal(place, "default"))
        assert answer.status in (200, 422), path
        if answer.status == 422:
            assert answer.faults.keys() == {"/cursor"}


def test_a_cursor_of_another_project_is_refused(api: Api) -> None:
    assert api.put("/v1/queues/mail", {}).status == 200
    for path in LISTS:
        assert api.get(path, cursor=seal(b"a", "other")).faults.keys() == {"/cursor"}, path
