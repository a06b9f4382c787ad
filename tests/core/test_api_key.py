"""API keys as texts: long, told from typos, and never printed with what is known of them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.api_key import (
    RANDOM_BYTES,
    SHOWN,
    ApiKey,
    ApiKeyId,
    NewApiKey,
    Scope,
    Standing,
    allows,
    is_key,
    key_hash,
    key_text,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEXT = key_text(bytes(range(RANDOM_BYTES)))


def key(expires_at: datetime | None = None, revoked_at: datetime | None = None) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(UUID(int=7)),
        project="default",
        name="ci",
        scopes=frozenset({Scope.READ}),
        shown=TEXT[:SHOWN],
        created_at=NOW,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_every_key_has_the_same_form_and_can_stand_in_a_header(random: bytes) -> None:
    text = key_text(random)
    assert is_key(text)
    assert len(text) == 52
    assert text.startswith("tq_")
    assert text[3:].isalnum()


def test_other_bytes_make_another_key_and_the_same_ones_the_same() -> None:
    assert key_text(b"\0" * 32) != key_text(b"\0" * 31 + b"\1")
    assert key_text(b"\xff" * 32) == key_text(b"\xff" * 32)
    assert key_hash(TEXT) == key_hash(TEXT) != key_hash(TEXT[::-1])


@given(st.integers(3, 51), st.sampled_from("0aZ9"))
def test_one_wrong_letter_is_told_without_a_store(place: int, letter: str) -> None:
    mistyped = TEXT[:place] + letter + TEXT[place + 1 :]
    assert is_key(mistyped) == (mistyped == TEXT)


@pytest.mark.parametrize(
    "text",
    ["", "tq_", TEXT[:-1], TEXT + "0", TEXT + "\n", " " + TEXT, TEXT.upper(), TEXT.replace("tq_", "sk_"), "tq_" * 999],
)
def test_what_was_cut_or_padded_is_no_key(text: str) -> None:
    assert not is_key(text)


@pytest.mark.parametrize("letter", ["é", "\u0660", "Ａ", "\0", "-", "_"])
def test_letters_of_other_alphabets_make_no_key(letter: str) -> None:
    assert not is_key(TEXT[:20] + letter + TEXT[21:])


def test_a_mistyped_letter_is_told_for_random_keys_too() -> None:
    for _ in range(200):
        text = key_text(secrets.token_bytes(RANDOM_BYTES))
        assert not is_key(text[:-1] + ("a" if text[-1] != "a" else "b"))


def test_whoever_administers_may_all_and_others_only_what_was_named() -> None:
    assert all(allows(frozenset({Scope.ADMIN}), scope) for scope in Scope)
    assert [scope for scope in Scope if allows(frozenset({Scope.SUBMIT, Scope.READ}), scope)] == [
        Scope.SUBMIT,
        Scope.READ,
    ]
    assert not allows(frozenset(), Scope.READ)


def test_a_key_stands_until_it_expires_or_is_revoked() -> None:
    assert key().standing(NOW + timedelta(days=36500)) is Standing.ACTIVE
    assert key(expires_at=NOW).standing(NOW - timedelta(microseconds=1)) is Standing.ACTIVE
    assert key(expires_at=NOW).standing(NOW) is Standing.EXPIRED
    assert key(expires_at=NOW, revoked_at=NOW).standing(NOW) is Standing.REVOKED


def test_no_text_of_a_key_is_printed_with_it() -> None:
    assert TEXT[SHOWN:] not in repr(NewApiKey(key(), TEXT)) + repr(key())
