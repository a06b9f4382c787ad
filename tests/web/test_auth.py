"""Who may call what: each operation asks for its scope, and a key that opens nothing is told so and no more."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from taskqueue.config import Settings
from taskqueue.core.api_key import Scope, key_text
from taskqueue.store import api_keys
from taskqueue.store.database import Database
from taskqueue.web.app import OPERATIONS, create_app
from taskqueue.web.auth import Authenticator, Caller
from taskqueue.web.operations import Operation
from taskqueue.web.service import Service
from tests.support.clock import Clock
from tests.support.processes import wait_until
from tests.web.contract import Answer, Api
from tests.web.keys import LIST, brought, make_key
from tests.web.outage import stuck

OPEN = {"health", "readiness", "get_openapi"}
GUARDED = [operation for operation in OPERATIONS if operation.scope is not None]
UNKNOWN = key_text(b"\7" * 32)


def path_of(operation: Operation) -> str:
    return operation.path.replace("{id}", str(uuid4())).replace("{name}", "mail").replace("{key}", "smtp")


def call(api: Api, operation: Operation, **request: Any) -> Answer:
    body = {"data": b"{}", "content_type": "application/json"} if operation.body is not None else {}
    return api.call(operation.method, path_of(operation), **body, **request)


class TestRoutes:
    """Nothing can be reached but through an operation, and every operation says whom it lets in."""

    def test_every_route_is_an_operation_that_asks_for_a_scope(self, app: Flask) -> None:
        operations = {operation.name: operation for operation in OPERATIONS}
        for rule in app.url_map.iter_rules():
            assert rule.methods is not None
            assert rule.methods - {"HEAD"} == {operations[rule.endpoint].method}
        assert {rule.endpoint for rule in app.url_map.iter_rules()} == operations.keys()
        assert {name for name, operation in operations.items() if operation.scope is None} == OPEN

    @pytest.mark.parametrize("operation", GUARDED, ids=lambda operation: operation.name)
    def test_nobody_gets_in_without_a_key(self, nobody: Api, operation: Operation) -> None:
        answer = call(nobody, operation)
        assert (answer.status, answer.json["type"]) == (401, "urn:taskqueue:problem:unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="taskqueue"'
        assert "X-API-Key" in answer.json["detail"]

    def test_every_operation_lets_in_whoever_has_its_scope_and_nobody_else(
        self, app: Flask, database: Database
    ) -> None:
        of_scope = {scope: Api(app, key=make_key(database, scope).text) for scope in Scope}
        for operation in GUARDED:
            assert operation.scope is not None
            for scope, api in of_scope.items():
                answer = call(api, operation)
                refused = answer.status == 403
                assert refused == (scope not in (operation.scope, Scope.ADMIN)), (operation.name, scope)
                if refused:
                    assert f"the scope {operation.scope}," in answer.json["detail"]
                    assert f'scope="{operation.scope}"' in answer.headers["www-authenticate"]
                else:
                    assert answer.status != 401

    def test_what_is_open_asks_for_nothing_and_looks_at_no_key(self, nobody: Api) -> None:
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert nobody.call("GET", path).status == 200
            assert nobody.call("GET", path, headers={"X-API-Key": "nonsense"}).status == 200

    def test_the_document_says_which_scope_each_operation_needs(self, nobody: Api) -> None:
        paths = nobody.get("/openapi.json").json["paths"]
        for operation in OPERATIONS:
            said = paths[operation.path][operation.method.lower()]["security"]
            scope = operation.scope
            assert said == ([{"bearer": [scope.value]}, {"header": [scope.value]}] if scope is not None else [])


class TestKeys:
    """Only a key that stands opens anything; of the others, only those who hold one learn why it does not."""

    def test_an_unknown_key_is_unknown(self, nobody: Api) -> None:
        answer = brought(nobody, X_API_Key=UNKNOWN)
        assert (answer.status, "no such API key" in answer.json["detail"]) == (401, True)

    def test_a_revoked_key_is_refused_within_seconds_by_a_process_that_knew_it(
        self, nobody: Api, database: Database
    ) -> None:
        made = make_key(database)
        assert brought(nobody, X_API_Key=made.text).status == 200
        with database.begin() as conn:  # as another process does it
            api_keys.revoke(conn, database, "default", made.key.id)
        revoked_at = time.monotonic()
        wait_until(lambda: brought(nobody, X_API_Key=made.text).status == 401, seconds=5, what="the refusal")
        assert time.monotonic() - revoked_at < 5
        assert "is revoked" in brought(nobody, X_API_Key=made.text).json["detail"]

    def test_the_process_that_revokes_refuses_at_once(self, app: Flask, nobody: Api, database: Database) -> None:
        made, other = make_key(database), make_key(database)
        assert brought(nobody, X_API_Key=made.text).status == 200
        assert Api(app, key=other.text).delete(f"/v1/api-keys/{made.key.id}").status == 204
        assert brought(nobody, X_API_Key=made.text).status == 401
        assert brought(nobody, X_API_Key=other.text).status == 200

    def test_an_expired_key_is_refused_though_it_was_let_in_a_moment_before(
        self, nobody: Api, database: Database, clock: Clock
    ) -> None:
        made = make_key(database, lifetime=timedelta(seconds=1))
        assert brought(nobody, X_API_Key=made.text).status == 200
        clock.advance(seconds=1)
        wait_until(lambda: brought(nobody, X_API_Key=made.text).status == 401, seconds=3, what="the refusal")
        assert "is expired" in brought(nobody, X_API_Key=made.text).json["detail"]

    def test_both_keys_of_a_rotation_open_until_the_overlap_ends(
        self, app: Flask, nobody: Api, database: Database, clock: Clock
    ) -> None:
        old = make_key(database)
        new = Api(app, key=old.text).post(f"/v1/api-keys/{old.key.id}/rotate", {"overlap": "1h"}).json["key"]
        assert [brought(nobody, X_API_Key=text).status for text in (old.text, new)] == [200, 200]
        clock.advance(hours=1)
        wait_until(lambda: brought(nobody, X_API_Key=old.text).status == 401, seconds=5, what="the refusal")
        assert brought(nobody, X_API_Key=new).status == 200

    def test_when_the_store_is_away_nobody_is_turned_out_for_good(
        self, nobody: Api, database: Database, database_url: str
    ) -> None:
        made = make_key(database)
        assert brought(nobody, X_API_Key=made.text).status == 200
        database.close()
        with stuck(database_url):
            assert brought(nobody, X_API_Key=made.text).status in (200, 503)

    def test_no_answer_holds_any_of_a_key(self, nobody: Api, database: Database) -> None:
        made = make_key(database, Scope.READ)
        for text in (made.text, UNKNOWN, made.text[:-1], f"{made.text},{UNKNOWN}"):
            for headers in ({"X-API-Key": text}, {"Authorization": f"Bearer {text}"}):
                for method, path in (
                    ("GET", LIST),
                    ("POST", "/v1/tasks/cancel"),
                    ("DELETE", LIST),
                    ("GET", "/nowhere"),
                ):
                    answer = nobody.call(method, path, headers=headers)
                    said = answer.content.decode() + repr(answer.headers)
                    assert text[3:11] not in said
                    assert text[11:20] not in said


def test_where_no_keys_are_asked_for_one_that_is_sent_is_not_looked_at(database: Database) -> None:
    authenticator = Authenticator(Settings(), database)
    found = authenticator.authenticate({"HTTP_X_API_KEY": "nonsense"}, Scope.ADMIN)
    assert found == Caller("default", frozenset(Scope))


def test_a_key_that_opens_nothing_is_said_before_the_body_is_read(nobody: Api) -> None:
    answer = nobody.call("POST", LIST, data=b"x" * 3_000_000, content_type="application/json")
    assert answer.status == 401


def test_a_readiness_that_everybody_sees_names_no_addresses(database: Database) -> None:
    service = Service(Settings(auth="on", allowed_targets="10.1.2.0/24"), database)
    (warning,) = Api(create_app(service)).get("/readyz").json["warnings"]
    service.close()
    assert "10.1.2" not in warning
