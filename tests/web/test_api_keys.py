"""API keys and projects over HTTP: shown once, listed without, and nobody's but their project's."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from taskqueue.core.api_key import Scope, is_key
from taskqueue.store import secrets
from taskqueue.store.database import Database
from tests.support.clock import Clock
from tests.web.contract import Api
from tests.web.keys import brought, make_key, make_project

KEYS = "/v1/api-keys"


@pytest.fixture
def admin(app: Flask, database: Database) -> Api:
    return Api(app, key=make_key(database).text)


def create(api: Api, **fields: Any) -> Any:
    answer = api.post(KEYS, {"name": "ci", "scopes": ["submit", "read"], **fields})
    assert answer.status == 201, answer.content
    return answer.json


def test_a_key_is_shown_once_and_opens_what_its_scopes_say(admin: Api, nobody: Api) -> None:
    answer = admin.post(KEYS, {"name": "ci", "scopes": ["read", "submit", "read"]})
    made = answer.json
    assert (answer.status, answer.headers["location"]) == (201, f"{KEYS}/{made['id']}")
    assert is_key(made["key"])
    assert made["key"].startswith(made["prefix"])
    assert (made["project"], made["scopes"], made["status"]) == ("default", ["submit", "read"], "active")
    assert brought(nobody, X_API_Key=made["key"]).status == 200
    shown = admin.get(answer.headers["location"])
    assert shown.json == {name: value for name, value in made.items() if name != "key"}
    for again in (shown, admin.get(KEYS)):
        assert made["key"][11:] not in again.content.decode()


def test_keys_are_listed_newest_first_a_page_at_a_time(admin: Api) -> None:
    made = [create(admin, name=f"key {number}")["id"] for number in range(3)]
    first = admin.get(KEYS, limit=2).json
    second = admin.get(KEYS, limit=2, cursor=first["nextCursor"]).json
    assert [item["id"] for item in first["items"] + second["items"]][:3] == made[::-1]
    assert second["nextCursor"] is None


def test_a_key_lives_as_long_as_was_said(admin: Api, clock: Clock) -> None:
    made = create(admin, expiresIn="90d")
    assert made["expiresAt"] is not None
    clock.advance(hours=91 * 24)
    assert admin.get(f"{KEYS}/{made['id']}").json["status"] == "expired"


def test_a_revoked_key_stays_in_the_list_and_can_be_revoked_again(admin: Api, nobody: Api) -> None:
    made = create(admin)
    for _ in range(2):
        assert admin.delete(f"{KEYS}/{made['id']}").status == 204
    assert brought(nobody, X_API_Key=made["key"]).status == 401
    assert admin.get(f"{KEYS}/{made['id']}").json["status"] == "revoked"
    assert admin.post(f"{KEYS}/{made['id']}/rotate").status == 409


def test_a_rotation_names_the_key_that_follows(admin: Api, nobody: Api) -> None:
    old = create(admin)
    new = admin.post(f"{KEYS}/{old['id']}/rotate").json
    assert admin.get(f"{KEYS}/{old['id']}").json["replacedBy"] == new["id"]
    assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
    again = admin.post(f"{KEYS}/{old['id']}/rotate", {"overlap": 5})
    assert (again.status, new["id"] in again.json["detail"]) == (409, True)
    last = admin.post(f"{KEYS}/{new['id']}/rotate", {"overlap": 0}).json
    found = [brought(nobody, X_API_Key=each["key"]).status for each in (old, new, last)]
    assert found == [200, 401, 200]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["read"]}, "/name"),
        ({"name": "x"}, "/scopes"),
        ({"name": "", "scopes": ["read"]}, "/name"),
        ({"name": "a\u0000", "scopes": ["read"]}, "/name"),
        ({"name": "x" * 101, "scopes": ["read"]}, "/name"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "x", "scopes": ["read"] * 5}, "/scopes"),
        ({"name": "x", "scopes": ["read"], "expiresIn": 0}, "/expiresIn"),
        ({"name": "x", "scopes": ["read"], "expiresIn": "100000d"}, "/expiresIn"),
        ({"name": "x", "scopes": ["read"], "key": "tq_mine"}, "/key"),
        ({"name": "x", "scopes": ["read"], "project": "other"}, "/project"),
    ],
)
def test_what_is_wrong_with_a_key_is_pointed_at(admin: Api, body: dict[str, Any], pointer: str) -> None:
    answer = admin.post(KEYS, body)
    assert (answer.status, list(answer.faults)) == (422, [pointer])
    assert len(admin.get(KEYS).json["items"]) == 1


def test_whoever_may_not_administer_makes_no_key(app: Flask, database: Database, admin: Api) -> None:
    rest = Api(app, key=make_key(database, Scope.SUBMIT, Scope.READ, Scope.MANAGE).text)
    assert rest.post(KEYS, {"name": "x", "scopes": ["admin"]}).status == 403
    assert rest.get(KEYS).status == 403
    assert len(admin.get(KEYS).json["items"]) == 2


def test_a_project_comes_with_a_key_that_makes_the_others(app: Flask, admin: Api, database: Database) -> None:
    answer = admin.post("/v1/projects", {"name": "acme"})
    assert answer.status == 201
    assert (answer.json["name"], answer.json["apiKey"]["project"]) == ("acme", "acme")
    owner = Api(app, key=answer.json["apiKey"]["key"])
    assert create(owner)["project"] == "acme"
    assert [project["name"] for project in admin.get("/v1/projects").json["items"]] == ["acme", "default"]
    with database.read() as conn:
        assert len(secrets.current(conn, "acme")) == 1
    again = admin.post("/v1/projects", {"name": "acme"})
    assert (again.status, "key" in again.json) == (409, False)


@pytest.mark.parametrize("name", ["", "Acme", "a b", "-a", "a" * 64, "a/b"])
def test_a_name_that_no_project_can_have_is_refused(admin: Api, name: str) -> None:
    assert list(admin.post("/v1/projects", {"name": name}).faults) == ["/name"]


def test_other_projects_see_and_make_none(app: Flask, database: Database) -> None:
    theirs = Api(app, key=make_project(database, "acme").text)
    for name in ("zoo", "default"):  # whether it is there makes no difference
        answer = theirs.post("/v1/projects", {"name": name})
        assert (answer.status, "the project default alone" in answer.json["detail"]) == (403, True)
    assert theirs.get("/v1/projects").status == 403


def test_keys_can_be_made_before_they_are_asked_for(api: Api) -> None:
    assert is_key(create(api)["key"])
