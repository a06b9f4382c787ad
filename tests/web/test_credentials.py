"""Two headers take a key; what is in them may be anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskqueue.store.database import Database
from tests.store.overhear import overheard
from tests.web.contract import Api
from tests.web.keys import brought, make_key


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {}", "  Bearer {}  "])
def test_a_key_may_come_as_a_bearer_token(nobody: Api, database: Database, form: str) -> None:
    assert brought(nobody, Authorization=form.format(make_key(database).text)).status == 200


def test_a_key_may_come_in_a_header_of_its_own(nobody: Api, database: Database) -> None:
    assert brought(nobody, X_API_Key=make_key(database).text).status == 200


def test_the_same_key_may_come_in_both(nobody: Api, database: Database) -> None:
    text = make_key(database).text
    assert brought(nobody, X_API_Key=text, Authorization=f"Bearer {text}").status == 200


def test_two_keys_that_differ_open_nothing_though_each_would(nobody: Api, database: Database) -> None:
    one, two = make_key(database).text, make_key(database).text
    answer = brought(nobody, X_API_Key=one, Authorization=f"Bearer {two}")
    assert (answer.status, "different keys" in answer.json["detail"]) == (401, True)


def test_the_scheme_of_a_gateway_is_left_alone_beside_a_key(nobody: Api, database: Database) -> None:
    assert brought(nobody, Authorization="Basic eDp5", X_API_Key=make_key(database).text).status == 200
    assert brought(nobody, Authorization="Basic eDp5").status == 401


@pytest.mark.parametrize(
    "spoil",
    [
        *(str.upper, lambda text: text[:-1], lambda text: text + "0", lambda text: f"{text},{text}"),
        *(lambda text: f"{text} {text}", lambda text: text[:-1] + "é", lambda text: text + "\xff"),
        *(lambda text: text * 200, lambda text: text[3:], lambda text: f'"{text}"', lambda text: "tq_"),
        *(lambda text: "\u0660".encode().decode("latin-1") + text, lambda text: "%00" + text),
    ],
)
def test_what_is_nearly_a_key_opens_nothing(nobody: Api, database: Database, spoil: Callable[[str], str]) -> None:
    text = spoil(make_key(database).text)
    for headers in ({"X_API_Key": text}, {"Authorization": f"Bearer {text}"}):
        answer = brought(nobody, **headers)
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("text", ["Bearer", "Bearer ", "bearer\t", "Bearer a b"])
def test_a_bearer_without_one_token_is_not_passed_over_for_the_other_header(
    nobody: Api, database: Database, text: str
) -> None:
    assert brought(nobody, Authorization=text, X_API_Key=make_key(database).text).status == 401


def test_a_typo_is_told_without_asking_the_store(nobody: Api, database: Database, database_url: str) -> None:
    text = make_key(database).text
    with overheard() as asked:
        answer = brought(nobody, X_API_Key=text[:-1] + ("a" if text[-1] != "a" else "b"))
    assert (answer.status, "mistyped" in answer.json["detail"]) == (401, True)
    assert asked == []
