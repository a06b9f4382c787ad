"""Every route, called with the key of another project: what is not theirs is not there, and nothing of it moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from taskqueue.store.database import Database
from taskqueue.web.app import OPERATIONS, create_app
from taskqueue.web.operations import Operation
from tests.web.belongings import (
    FLOW_KEY,
    HOST,
    LABEL,
    ORDER,
    ORIGIN,
    OURS,
    QUEUE,
    URL,
    WAITING,
    Belongings,
    advance,
    belongings,
    rows_of,
)
from tests.web.contract import Answer, Api
from tests.web.keys import asking, make_project

GUARDED = [operation for operation in OPERATIONS if operation.scope is not None]
OF_IDS = [operation for operation in GUARDED if "{id}" in operation.path]
OF_NAMES = [operation for operation in GUARDED if "{name}" in operation.path or "{key}" in operation.path]
LISTS = [operation for operation in GUARDED if operation.method == "GET" and "{" not in operation.path]
# What leaves something behind comes last: after it, a name is theirs too.
MAKERS = ("PUT",)
BODIES: dict[str, Any] = {
    "/v1/queues/{name}/unblock": {"orderingKey": ORDER},
    "/v1/breakers/reset": {"origin": URL},
    "/v1/dead-letters/redrive": {},
}
FILTERS: dict[str, dict[str, str]] = {
    "/v1/tasks": {"queue": QUEUE, "label": LABEL, "targetHost": HOST, "status": "dead", "kind": "webhook"},
    "/v1/dead-letters": {"queue": QUEUE, "label": LABEL, "targetHost": HOST, "reason": "rejected", "kind": "task"},
    "/v1/dead-letters/groups": {"queue": QUEUE, "label": LABEL, "class": "bad_request"},
    "/v1/breakers": {"origin": URL, "state": "open"},
}


@pytest.fixture
def ours(database: Database) -> Belongings:
    return belongings(database)


@pytest.fixture
def theirs(ours: Belongings, database: Database) -> Iterator[Api]:
    """Another project, with a key to all of it and nothing in it; at the end, nothing of ours has changed."""
    before = rows_of(database, OURS)
    with asking(database) as service:
        yield Api(create_app(service), key=make_project(database, "theirs").text)
        advance(database)
    assert rows_of(database, OURS) == before


def call(api: Api, operation: Operation, path: str) -> Answer:
    body = BODIES.get(operation.path, operation.example or {})
    content = {"data": json.dumps(body), "content_type": "application/json"} if operation.body is not None else {}
    return api.call(operation.method, path, **content)


def said(answer: Answer, name: str) -> Any:
    """An answer without what differs from request to request."""
    text = answer.content.decode().replace(name, "NAME").replace(str(answer.headers["x-request-id"]), "")
    return answer.status, text


def test_there_is_something_of_ours_in_every_table_that_is_asked(ours: Belongings, database: Database) -> None:
    empty = {name for name, rows in rows_of(database, OURS).items() if not rows}
    assert empty <= {"revisions", "wakes"}  # of edited redrives, and of what waits for a claim to see it


def test_what_is_looked_for_is_there_for_us(ours: Belongings, database: Database) -> None:
    with asking(database) as service:
        us = Api(create_app(service), key=ours.key)
        for operation in OF_IDS:
            if operation.method == "GET":
                found = [us.get(operation.path.replace("{id}", id_)).status for id_ in ours.ids.values()]
                assert 200 in found, operation.name
        assert us.get(f"/v1/queues/{QUEUE}").status == us.get(f"/v1/flow-keys/{FLOW_KEY}").status == 200
        assert {"s3cret" in us.get(path).content.decode() for path in FILTERS} == {True}


def test_an_id_of_ours_is_like_one_that_never_was(ours: Belongings, theirs: Api) -> None:
    for operation in OF_IDS:
        nobodys = str(uuid4())
        unknown = call(theirs, operation, operation.path.replace("{id}", nobodys))
        assert unknown.status == 404, operation.name
        for what, id_ in ours.ids.items():
            answer = call(theirs, operation, operation.path.replace("{id}", id_))
            assert said(answer, id_) == said(unknown, nobodys), (operation.name, what)


def test_a_long_poll_for_a_task_of_ours_does_not_wait(ours: Belongings, theirs: Api) -> None:
    assert theirs.get(f"/v1/tasks/{ours.ids['held']}", wait=20).status == 404


def test_a_name_of_ours_is_like_one_that_nobody_uses(ours: Belongings, theirs: Api) -> None:
    for operation in sorted(OF_NAMES, key=lambda operation: operation.method in MAKERS):
        for name in (QUEUE, FLOW_KEY, ORIGIN):
            nobodys = name.replace("s3cret", "nobody")
            found = [call(theirs, operation, _named(operation, each)) for each in (name, nobodys)]
            assert said(found[0], name)[0] == said(found[1], nobodys)[0], (operation.name, name)
            if operation.method not in MAKERS:
                assert said(found[0], name) == said(found[1], nobodys), (operation.name, name)


def test_lists_hold_nothing_of_ours_whatever_is_asked_for(ours: Belongings, theirs: Api) -> None:
    assert {operation.path for operation in LISTS} >= FILTERS.keys()
    for operation in LISTS:
        asked = [{}, *({name: value} for name, value in FILTERS.get(operation.path, {}).items())]
        if operation.path == "/v1/dead-letters":
            asked += [{"taskId": ours.ids["dead"]}]
        for query in asked:
            answer = theirs.call("GET", f"{operation.path}?{urlencode(query)}")
            if operation.path == "/v1/projects":
                assert answer.status == 403
                continue
            assert answer.status == 200, (operation.name, query)
            text = answer.content.decode()
            assert not [id_ for id_ in ours.ids.values() if id_ in text], (operation.name, query)
            assert "s3cret" not in text.replace(urlencode(query), ""), (operation.name, query)


def test_a_cursor_of_ours_leads_nowhere(ours: Belongings, theirs: Api) -> None:
    for operation in LISTS:
        if operation.path not in ("/v1/projects", "/v1/dead-letters/groups"):
            answer = theirs.call("GET", f"{operation.path}?{urlencode({'cursor': ours.cursor})}")
            assert (answer.status, list(answer.faults)) == (422, ["/cursor"]), operation.name


def test_bulk_verbs_pass_over_what_is_ours(theirs: Api) -> None:
    for wanted in ({}, {"queue": QUEUE}, {"label": LABEL}, {"targetHost": HOST}, {"class": "bad_request"}):
        dry = theirs.post("/v1/dead-letters/redrive", {**wanted, "dryRun": True})
        assert dry.json == {"count": 0}
        assert theirs.post("/v1/dead-letters/redrive", wanted).json["matched"] == 0


def test_every_verb_on_names_that_are_theirs_too_leaves_ours_alone(theirs: Api, database: Database) -> None:
    task = theirs.submit(**WAITING)
    for operation in sorted(OF_NAMES, key=lambda operation: operation.method == "DELETE"):
        for name in (QUEUE, FLOW_KEY):
            assert call(theirs, operation, _named(operation, name)).status in (200, 202, 204, 404, 409)
    advance(database)
    assert theirs.get(f"/v1/tasks/{task['id']}").json["status"] == "cancelled", "the purge found what was theirs"


def test_an_idempotency_key_of_ours_is_free_for_them(ours: Belongings, theirs: Api) -> None:
    answer = theirs.post("/v1/tasks", WAITING)
    assert answer.status == 202
    assert "idempotency-replayed" not in answer.headers
    assert answer.json["id"] not in ours.ids.values()


def test_every_other_route_is_called_too(theirs: Api) -> None:
    rest = [operation for operation in GUARDED if operation not in (*OF_IDS, *OF_NAMES, *LISTS)]
    for operation in rest:
        answer = call(theirs, operation, operation.path)
        assert answer.status in (200, 201, 202, 403, 404), operation.name
        assert (answer.status == 403) == operation.path.startswith("/v1/projects")


def test_a_default_of_ours_is_given_to_no_task_of_theirs(theirs: Api) -> None:
    assert theirs.submit(queue=QUEUE)["retries"] == 3


def _named(operation: Operation, name: str) -> str:
    escaped = name if "{name}" in operation.path else name.replace("/", "%2F").replace(":", "%3A")
    return operation.path.replace("{name}", name).replace("{key}", escaped)
