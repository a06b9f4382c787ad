"""Failures of one cause share a fingerprint; those of different causes do not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.fingerprint import fingerprint

FAILURE: dict[str, Any] = {
    "kind": "function_error",
    "error_type": "KeyError",
    "target_url": "https://target.example/work?page=1",
    "message": "no account 4711 in 0x7f3a, request c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
}


def test_a_fingerprint_is_sixteen_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", fingerprint(**FAILURE))


@pytest.mark.parametrize(
    "other",
    [
        {"message": "no account 9 in 0xFFFF0000, request 00000000-0000-0000-0000-000000000000"},
        {"target_url": "https://target.example/work?page=2"},
        {"target_url": "https://target.example/work"},
    ],
)
def test_numbers_ids_and_the_query_of_the_target_make_no_difference(other: dict[str, str]) -> None:
    assert fingerprint(**FAILURE | other) == fingerprint(**FAILURE)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "function_handled_error"},
        {"error_type": "IndexError"},
        {"error_type": None},
        {"target_url": "https://target.example/other"},
        {"message": "no account"},
        {"message": None},
    ],
)
def test_whatever_else_differs_makes_another_fingerprint(other: dict[str, str | None]) -> None:
    assert fingerprint(**FAILURE | other) != fingerprint(**FAILURE)


def test_what_stands_next_to_each_other_does_not_run_together() -> None:
    one = fingerprint(kind="a", error_type="b", target_url="c", message="d")
    assert fingerprint(kind="ab", error_type="", target_url="c", message="d") != one


@given(st.text() | st.just("\ud800"))
def test_every_message_has_a_fingerprint(message: str) -> None:
    assert len(fingerprint(**FAILURE | {"message": message})) == 16
