"""The scan takes what RFC 8259 allows, refuses the rest, and cuts out values byte for byte."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue.web import scan
from taskqueue.web.scan import NotThatKind, UnreadableJson

SPACE = st.text(alphabet=" \t\n\r", max_size=3).map(str.encode)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
TEXTS = st.builds(lambda value, ascii_: json.dumps(value, ensure_ascii=ascii_).encode(), VALUES, st.booleans())
ODDITIES = st.sampled_from(
    [
        b'"\\ud800"',
        b'"\\uDfff\\ud800"',
        b'"\\u0000"',
        b'"\\\\ud800"',
        b"1e999",
        b"9" * 5000,
        b"-0.0E-12",
        b'["\\\\",{}]',
    ]
)
KEYS = st.text(alphabet='abcdefgh"\\/\u00e9\u20ac {}[],:', max_size=6)
MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"\xff", b"\x00", b"NaN"]),
    ),
    min_size=1,
    max_size=3,
)


def accepts(text: bytes) -> bool:
    try:
        scan.check(text)
    except UnreadableJson:
        return False
    return True


def is_json(text: bytes) -> bool:
    """What Python's own parser says, where it is told to be strict."""

    def refuse(_constant: str) -> None:
        raise ValueError

    try:
        json.loads(text.decode(), parse_constant=refuse, parse_int=str, parse_float=str)
    except ValueError:
        return False
    return True


@given(TEXTS | ODDITIES, SPACE, SPACE)
def test_json_is_accepted_whatever_it_holds(text: bytes, before: bytes, after: bytes) -> None:
    scan.check(before + text + after)


@given(TEXTS, MUTATIONS)
@example(b'{"a": 1}', [(8, b"x")])
@example(b'"\\u00e9"', [(3, b"")])
def test_damaged_bytes_are_accepted_only_where_they_still_are_json(
    text: bytes, mutations: list[tuple[int, bytes]]
) -> None:
    for at, piece in mutations:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + 1 :]
    assert accepts(text) == is_json(text)


@given(st.dictionaries(KEYS, TEXTS | ODDITIES, max_size=6), st.lists(SPACE, min_size=1, max_size=5), st.booleans())
def test_members_are_cut_out_byte_for_byte(values: dict[str, bytes], spaces: list[bytes], ascii_: bool) -> None:
    def spaced(*parts: bytes) -> bytes:
        return b"".join(space + part for space, part in zip(spaces * len(parts), parts, strict=False))

    inner = b",".join(
        spaced(json.dumps(key, ensure_ascii=ascii_).encode(), b":", value, b"") for key, value in values.items()
    )
    text = spaced(b"{", inner, b"}", b"")
    scan.check(text)
    assert scan.members(text) == values


@given(st.lists(TEXTS | ODDITIES, max_size=6), SPACE)
def test_elements_are_cut_out_byte_for_byte(values: list[bytes], space: bytes) -> None:
    text = space + b"[" + space + (space + b"," + space).join(values) + space + b"]" + space
    scan.check(text)
    assert scan.elements(text) == values


@given(KEYS, TEXTS | ODDITIES, TEXTS | ODDITIES, st.dictionaries(KEYS, TEXTS, max_size=3))
@example("a", b"12", b"1", {})
@example("a", b"1", b"1", {})
@example("a", b"1", b"12", {})
def test_a_key_that_comes_twice_is_refused(key: str, first: bytes, second: bytes, others: dict[str, bytes]) -> None:
    pairs = [(key, first), *((name, value) for name, value in others.items() if name != key), (key, second)]
    text = b"{" + b",".join(json.dumps(name).encode() + b":" + value for name, value in pairs) + b"}"
    with pytest.raises(UnreadableJson, match="twice"):
        scan.members(text)


def test_a_key_in_another_spelling_is_the_same_key() -> None:
    with pytest.raises(UnreadableJson, match="'payload' comes twice"):
        scan.members(b'{"payload": 1, "pay\\u006coad": 2}')


def test_keys_that_come_twice_below_a_value_are_left_alone() -> None:
    assert scan.members(b'{"payload": {"a": 1, "a": 2}}') == {"payload": b'{"a": 1, "a": 2}'}


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"]":'])
def test_sixty_four_levels_are_read_and_one_more_is_not(opening: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    closing = b"".join({b"[": b"]", b"{": b"}"}[bytes([byte])] for byte in reversed(opening) if byte in b"[{")
    for depth, read in ((64 // levels, True), (64 // levels + 1, False)):
        text = opening * depth + b"1" + closing * depth
        assert accepts(text) == read


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"a":' * 100_000, b"[" * 99_999 + b"]", b'[{"a":' * 50_000 + b"}]" * 50_000]
)
def test_nesting_without_end_is_refused_without_recursion(text: bytes) -> None:
    with pytest.raises(UnreadableJson, match="nested deeper than 64"):
        scan.check(text)


def test_brackets_inside_strings_do_not_count() -> None:
    scan.check(b'["' + b"[{" * 1000 + b'", "\\"[[[\\\\", "' + b"]" * 1000 + b'"]')


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"\xef\xbb\xbf{}",
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b"{'a': 1}",
        b"[1,]",
        b"01",
        b"1.",
        b"{} {}",
    ],
)
def test_what_only_looks_like_json_is_refused(text: bytes) -> None:
    assert not accepts(text)


def test_a_value_of_another_kind_is_told_apart() -> None:
    with pytest.raises(NotThatKind):
        scan.members(b"[1]")
    with pytest.raises(NotThatKind):
        scan.elements(b'{"a": 1}')


def test_refusals_repeat_little_of_what_was_sent() -> None:
    with pytest.raises(UnreadableJson) as refused:
        scan.members(b'{"%s": 1, "%s": 2}' % (b"k" * 5000, b"k" * 5000))
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    "text",
    [
        b'{"payload":"' + b'\\"' * 500_000,
        b'"' * 1_000_000,
        b'{"payload":[' + b'"",' * 330_000 + b"1]}",
        b'{"payload":[' + b"[],{}," * 160_000 + b"1]}",
        b'{"payload":"' + b"\\ud800" * 160_000 + b'"}',
        b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b"}",
    ],
    ids=["escaped quotes without end", "quotes", "empty strings", "empty containers", "surrogates", "many keys"],
)
def test_a_megabyte_of_anything_takes_time_in_proportion(text: bytes) -> None:
    started = time.process_time()
    try:
        scan.check(text)
        scan.members(text)
    except UnreadableJson:
        pass
    assert time.process_time() - started < 10  # a fifth of a second; minutes, were it quadratic
