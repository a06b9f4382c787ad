"""What is remembered of keys is little, bounded, and no key."""

from __future__ import annotations

from taskqueue.core.api_key import Scope, key_text
from taskqueue.store import api_keys
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.calls import Call
from taskqueue.web.known_keys import KnownKeys
from taskqueue.web.service import Service
from tests.store.overhear import overheard
from tests.web.contract import Api
from tests.web.keys import asking, brought, make_key


def test_a_known_key_costs_the_store_nothing(nobody: Api, database: Database) -> None:
    text = make_key(database, Scope.SUBMIT).text
    assert brought(nobody, X_API_Key=text).status == 403
    with overheard() as asked:
        for _ in range(20):
            assert brought(nobody, X_API_Key=text).status == 403
    assert len([statement for statement in asked if "select" in statement.words.lower()]) <= 1, "unless 3 s went by"


def test_unknown_keys_are_not_remembered_and_cost_one_read_each(database: Database) -> None:
    known = KnownKeys(database)
    with overheard() as asked:
        for number in range(20):
            assert known.find(key_text(number.to_bytes(32))) is None
    assert len(known) == 0
    assert len([statement for statement in asked if "api_keys" in statement.words]) == 20


def test_only_so_many_keys_are_remembered(database: Database) -> None:
    known, made = KnownKeys(database, most=3), [make_key(database) for _ in range(5)]
    assert all(known.find(each.text) is not None for each in made)
    assert len(known) == 3


def test_nothing_that_is_remembered_or_printed_is_a_key(asking_service: Service, database: Database) -> None:
    made = make_key(database)
    environ = {"HTTP_AUTHORIZATION": f"Bearer {made.text}"}
    caller = asking_service.callers.authenticate(environ, Scope.READ)
    request = Call(environ, caller, None, None, b'{"payload": "s3cret"}')
    known = asking_service.callers.known
    printed = repr((made, caller, request, vars(known), known))
    assert made.text[11:] not in printed
    assert "s3cret" not in printed


def test_a_use_is_written_behind_the_requests_back(database: Database) -> None:
    made = make_key(database)
    with asking(database) as service:
        assert brought(Api(create_app(service)), X_API_Key=made.text).status == 200
        with database.read() as conn:
            before = api_keys.get(conn, "default", made.key.id)
    with database.read() as conn:
        after = api_keys.get(conn, "default", made.key.id)
    assert before is not None
    assert before.last_used_at is None, "the request itself wrote nothing"
    assert after is not None
    assert after.last_used_at is not None, "a stop loses no use"
