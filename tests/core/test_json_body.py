"""Bodies that claim to be JSON, and paths into them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.json_body import MAX_PATH, MAX_STEPS, MISSING, NotJson, find, member, parse_path, read_json

MIB = 2**20
PATHS = {
    "$": (),
    "$.status": ("status",),
    "$.error.code": ("error", "code"),
    "$.error-code": ("error-code",),
    "$._links": ("_links",),
    "$.größe": ("größe",),
    "$['error']['the code']": ("error", "the code"),
    "$['']": ("",),
    "$['it\\'s']": ("it's",),
    "$['a\\\\b']": ("a\\b",),
    "$['$.x[0]']": ("$.x[0]",),
    "$.items[0].id": ("items", 0, "id"),
    "$[-1]": (-1,),
    "$[0][10][-999]": (0, 10, -999),
}
DOCUMENT: Any = {"status": "ok", "n": None, "items": [{"id": 1}, {"id": 2}], "0": "a name", "deep": {"a b": [[7]]}}


@pytest.mark.parametrize(("text", "steps"), PATHS.items(), ids=PATHS.keys())
def test_a_path_is_read_into_its_steps(text: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize(
    "text",
    [
        *("", "status", ".status", "$status", " $", "$ ", "$.", "$..status", "$.*", "$[*]", "$.a.*", "$[?(@.a)]"),
        *("$[0:2]", "$[0,1]", "$[-0]", "$[01]", "$[1e3]", "$[+1]", "$[ 0]", "$[0", "$[]", "$['a", "$['a'", "$['a']x"),
        *('$["a"]', "$['a\\n']", "$.1a", "$.a b", "$.a\n", "$.-a", "$[9999999999]", "$['a','b']", "@.a", "$.length()"),
        *("$.a" * MAX_STEPS + ".a", "$" + ".a" * (MAX_STEPS + 1), "$." + "a" * MAX_PATH),
    ],
)
def test_what_is_no_path_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="a path"):
        parse_path(text)


def test_the_longest_path_with_the_most_steps() -> None:
    assert len(parse_path("$" + ".a" * MAX_STEPS)) == MAX_STEPS
    assert len(parse_path("$." + "a" * (MAX_PATH - 2))[0]) == MAX_PATH - 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.status", "ok"),
        ("$.n", None),
        ("$.items[1].id", 2),
        ("$.items[-2].id", 1),
        ("$['0']", "a name"),
        ("$.deep['a b'][0][0]", 7),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    assert find(DOCUMENT, parse_path(path)) == value


@pytest.mark.parametrize(
    "path",
    [
        *("$.nothing", "$.status.length", "$.status[0]", "$.n.x", "$.items[2]", "$.items[-3]", "$.items.id"),
        *("$[0]", "$.items['0']", "$.nothing.at.all", "$.deep[0]"),
    ],
)
def test_a_path_may_lead_nowhere(path: str) -> None:
    assert find(DOCUMENT, parse_path(path)) is MISSING


@given(st.text(alphabet="$.[]'\\-0129ab*_ü \n"))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        steps = parse_path(text)
    except ValueError:
        return
    assert text.startswith("$")
    assert len(steps) <= MAX_STEPS


NAMES = st.text(st.characters(codec="utf-8"), max_size=8)


@given(st.lists(NAMES | st.integers(0, 9), max_size=8))
def test_every_place_has_a_path_that_leads_there(steps: list[str | int]) -> None:
    document: Any = "here"
    for step in reversed(steps):
        document = {step: document} if isinstance(step, str) else [None] * step + [document]
    escaped = [step.replace("\\", "\\\\").replace("'", "\\'") if isinstance(step, str) else step for step in steps]
    path = "$" + "".join(f"['{step}']" if isinstance(step, str) else f"[{step}]" for step in escaped)
    assert find(document, parse_path(path)) == "here"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | NAMES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)
    )
)
def test_what_is_json_is_read(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode()) == value


HOSTILE = {
    "nothing": b"",
    "text": b"done",
    "two values": b"{} {}",
    "a value cut off": b'{"a": [1, 2',
    "no UTF-8": b'{"a": "\xff"}',
    "another encoding": '{"a": 1}'.encode("utf-16"),
    "not a number": b"[NaN]",
    "infinity": b"-Infinity",
    "a million brackets": b"[" * MIB,
    "a million brackets, closed": b"[" * (MIB // 2) + b"]" * (MIB // 2),
    "a million braces": b'{"":' * (MIB // 4),
    "a number of a million digits": b"9" * MIB,
    "an escape that is none": b'"\\x"',
    "a NUL": b'"\x00"',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_json_is_refused_at_once(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(NotJson):
        read_json(body)
    assert time.process_time() - began < 1


LARGE = {
    "empty arrays": b"[" + b"[]," * (MIB // 3 - 2) + b"0]",
    "small objects": b"[" + b'{"":0},' * (MIB // 7 - 2) + b"0]",
    "one text": b'"' + b"\\u0000" * (MIB // 6 - 1) + b'"',
    "a fraction of a million digits": b"0." + b"9" * (MIB - 2),
    "many long numbers": b"[" + (b"9" * 4000 + b",") * (MIB // 4001 - 1) + b"0]",
}


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE.keys())
def test_a_whole_mebibyte_is_read_in_a_moment(body: bytes) -> None:
    assert MIB * 0.95 < len(body) <= MIB
    began = time.process_time()
    read_json(body)
    assert time.process_time() - began < 2


@given(st.binary())
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with suppress(NotJson):
        read_json(body)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"result": 1.10}', b"1.10"),
        (b'\xef\xbb\xbf { "a":[1,2] , "result" :\t{"b": "\\ud800", "n":12345678901234567890.10} }', None),
        (b'{"result": 1, "r\\u0065sult": 2}', b"2"),
        (b"{}", b""),
        (b'{"a": "result"}', b""),
    ],
)
def test_a_member_is_cut_out_as_it_stands(body: bytes, found: bytes | None) -> None:
    read_json(body)
    expected = b'{"b": "\\ud800", "n":12345678901234567890.10}' if found is None else found
    assert (member(body, "result") or b"") == expected
