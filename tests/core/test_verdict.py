"""Verdicts: which answers a rule picks, and what becomes of them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.outcome import CLASSES, Compensation, Outcome, Partial, failed
from taskqueue.core.verdict import MAX_GLOBBED, Ruling, Verdict, When, headers_read, judge, read_bodies
from tests.core.examples import answered

MIB = 2**20
LIE: Any = {"status": "error", "code": 7, "rate": 1.0, "ok": False, "left": None, "items": [{"id": "a"}], "one": 1}


def rule(outcome: str = "retry", **when: Any) -> Verdict:
    return Verdict(when=When(**when), outcome=Ruling(outcome))


def holds(*, headers: tuple[tuple[str, str], ...] = (), body: Any = LIE, **when: Any) -> bool:
    """Whether a rule picks an answer."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    outcome = answered(200, headers=headers, body=text)
    return judge(outcome, [rule("defer", **when)]).cls.name == "verdict_defer"


MATCHING: list[dict[str, Any]] = [
    {"json_path": "$.status", "equals": "error"},
    {"json_path": "$.code", "equals": 7},
    {"json_path": "$.code", "equals": 7.0},
    {"json_path": "$.rate", "equals": 1},
    {"json_path": "$.ok", "equals": False},
    {"json_path": "$.left", "one_of": (None,)},
    {"json_path": "$.status", "one_of": ("busy", "error")},
    {"json_path": "$.status", "exists": True},
    {"json_path": "$.left", "exists": True},
    {"json_path": "$.nothing", "exists": False},
    {"json_path": "$.status"},
    {"json_path": "$.left"},
    {"json_path": "$"},
    {"json_path": "$.items[0].id", "equals": "a"},
    {"json_path": "$.items[-1]['id']", "glob": "?"},
    {"json_path": "$.status", "glob": "err*"},
    {"status": "200"},
    {"status": "2xx"},
    {"status": "200-299", "json_path": "$.code", "equals": 7},
]
NOT_MATCHING: list[dict[str, Any]] = [
    {"json_path": "$.status", "equals": "Error"},
    {"json_path": "$.code", "equals": "7"},
    {"json_path": "$.code", "equals": True},
    {"json_path": "$.one", "equals": True},
    {"json_path": "$.ok", "equals": 0},
    {"json_path": "$.left", "equals": False},
    {"json_path": "$.left", "equals": ""},
    {"json_path": "$.one", "one_of": (True, "1", None)},
    {"json_path": "$.items", "equals": "a"},
    {"json_path": "$.items", "one_of": (None, False)},
    {"json_path": "$.nothing", "equals": "error"},
    {"json_path": "$.nothing", "one_of": (None,)},
    {"json_path": "$.nothing", "exists": True},
    {"json_path": "$.status", "exists": False},
    {"json_path": "$.nothing"},
    {"json_path": "$.nothing", "glob": "*"},
    {"json_path": "$.code", "glob": "*"},
    {"json_path": "$.left", "glob": "*"},
    {"json_path": "$.status", "glob": "rr"},
    {"status": "500-599"},
    {"status": "404", "json_path": "$.status", "equals": "error"},
    {"status": "2xx", "json_path": "$.status", "equals": "fine"},
]


@pytest.mark.parametrize("when", MATCHING, ids=str)
def test_conditions_that_hold(when: dict[str, Any]) -> None:
    assert holds(**when)


@pytest.mark.parametrize("when", NOT_MATCHING, ids=str)
def test_conditions_that_do_not_hold(when: dict[str, Any]) -> None:
    assert not holds(**when)


def test_headers_are_looked_at_as_texts() -> None:
    headers = (("x-state", "busy"), ("x-left", "0"), ("x-empty", ""))
    assert holds(headers=headers, header="x-state")
    assert holds(headers=headers, header="x-empty", exists=True)
    assert holds(headers=headers, header="x-nothing", exists=False)
    assert holds(headers=headers, header="x-left", equals="0")
    assert holds(headers=headers, header="x-state", one_of=("idle", "busy"))
    assert holds(headers=headers, header="x-state", glob="b*y", body=b"no json")
    assert not holds(headers=headers, header="x-state", exists=False)
    assert not holds(headers=headers, header="x-state", equals="idle")
    assert not holds(headers=headers, header="x-nothing")
    assert not holds(headers=headers, header="x-left", one_of=(0, False, None))


UNREADABLE = {
    "text": ((), b"error"),
    "nothing": ((), b""),
    "half an object": ((), b'{"status": "error"'),
    "NaN": ((), b'{"status": NaN}'),
    "compressed, as it says": ((("content-encoding", "gzip"),), b'{"status": "error"}'),
    "a million brackets": ((), b"[" * MIB),
}


@pytest.mark.parametrize(("headers", "body"), UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("test", [{}, {"equals": "error"}, {"exists": False}, {"exists": True}, {"glob": "*"}], ids=str)
def test_a_body_that_cannot_be_read_meets_no_condition(
    headers: tuple[tuple[str, str], ...], body: bytes, test: dict[str, Any]
) -> None:
    assert not holds(headers=headers, body=body, json_path="$.status", **test)


def test_a_body_that_was_cut_meets_none_either() -> None:
    outcome = answered(200, body=b'{"status": "error"}', truncated=True)
    assert judge(outcome, [rule(json_path="$.status")]) is outcome
    assert judge(outcome, [rule("fail", status="2xx")]).cls.name == "verdict_fail"


def test_an_encoding_that_changes_nothing_is_none() -> None:
    assert holds(headers=(("content-encoding", "identity"),), json_path="$.status")


def test_a_path_of_a_later_version_picks_nothing() -> None:
    assert not holds(json_path="$..status")


def test_the_first_rule_that_matches_decides() -> None:
    rules = [
        rule("fail", json_path="$.status", equals="fatal"),
        rule("defer", json_path="$.status", equals="error"),
        rule("retry", status="2xx"),
    ]
    assert judge(answered(200, body=b'{"status": "error"}'), rules).cls.name == "verdict_defer"
    assert judge(answered(200, body=b'{"status": "fatal"}'), rules).cls.name == "verdict_fail"
    assert judge(answered(200, body=b'{"status": "fine"}'), rules).cls.name == "verdict_retry"
    outcome = answered(404, body=b"{}")
    assert judge(outcome, rules) is outcome
    assert judge(outcome, []) is outcome


@pytest.mark.parametrize(
    ("ruling", "cls"), [("retry", "verdict_retry"), ("fail", "verdict_fail"), ("defer", "verdict_defer")]
)
def test_a_ruling_is_on_record_with_the_rule_that_made_it(ruling: str, cls: str) -> None:
    before = answered(200, body=b'{"status": "error"}')
    outcome = judge(before, [rule(status="404"), rule(ruling, status="2xx", json_path="$.status", equals="error")])
    assert (outcome.cls, outcome.error_type) == (CLASSES[cls], "Verdict")
    assert outcome.error_message == f'verdict 1 says {ruling}: the status is 200, $.status is "error"'
    assert (outcome.response, outcome.timings, outcome.phase) == (before.response, before.timings, before.phase)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"status": "2xx"}, "the status is 200"),
        ({"json_path": "$.code", "equals": 7}, "$.code is 7"),
        ({"json_path": "$.ok", "equals": False}, "$.ok is false"),
        ({"json_path": "$.code", "one_of": (6, 7)}, "$.code is one of 6, 7"),
        ({"json_path": "$.code", "one_of": (7,)}, "$.code is 7"),
        ({"json_path": "$.status", "glob": "e*"}, '$.status is like "e*"'),
        ({"json_path": "$.status"}, "$.status is there"),
        ({"json_path": "$.none", "exists": False}, "$.none is not there"),
        ({"header": "x-key", "exists": True}, "header x-key is there"),
        ({"header": "x-key", "glob": "s*"}, 'header x-key is like "s*"'),
    ],
)
def test_the_record_repeats_the_rule_and_not_the_answer(when: dict[str, Any], said: str) -> None:
    outcome = judge(answered(200, headers=(("x-key", "secret"),), body=json.dumps(LIE).encode()), [rule(**when)])
    assert outcome.error_message == f"verdict 0 says retry: {said}"


def test_the_record_stays_short_whatever_the_rule_says() -> None:
    long = "\u2028\n" * 2000
    outcome = judge(answered(200, body=json.dumps(long).encode()), [rule(json_path="$", one_of=(long,) * 100)])
    assert outcome.error_message is not None
    assert len(outcome.error_message) <= 1000
    assert outcome.error_message.isprintable()


def test_a_failure_can_be_a_success() -> None:
    before = answered(409, body=b'{"status": "already done"}')
    outcome = judge(before, [rule("success", status="409", json_path="$.status", glob="already*")])
    assert (outcome.cls, outcome.error_type, outcome.error_message) == (CLASSES["success"], None, None)
    assert outcome.response == before.response


def test_a_function_that_failed_is_judged_too() -> None:
    headers = (("x-amz-function-error", "Unhandled"),)
    report = b'{"errorType": "AccountExists", "errorMessage": "it is there", "stackTrace": ["at x"]}'
    before = answered(200, headers=headers, body=report)
    done = judge(before, [rule("success", json_path="$.errorType", equals="AccountExists")])
    assert (done.cls.name, done.error_message, done.stack) == ("success", None, ())
    again = judge(before, [rule("fail", header="x-amz-function-error")])
    assert (again.cls.name, again.stack) == ("verdict_fail", ("at x",))


def test_what_work_a_ruling_leaves_in_doubt() -> None:
    judged = [judge(answered(200), [rule(ruling, status="200")]) for ruling in ("retry", "fail", "defer")]
    assert [outcome.partial for outcome in judged] == [Partial.POSSIBLE, Partial.POSSIBLE, Partial.NO]
    assert [outcome.cls.compensation for outcome in judged] == [*[Compensation.DEPENDS] * 2, Compensation.NO]


ANYTHING = [rule("success", status="2xx"), rule("success", status="3xx"), rule("success", status="400-599")]


@pytest.mark.parametrize("status", [301, 304, 399])
def test_redirects_are_not_judged(status: int) -> None:
    outcome = answered(status)
    assert judge(outcome, [*ANYTHING, rule("success", json_path="$")]) is outcome


def test_only_whole_answers_are_judged() -> None:
    for outcome in (answered(200, complete=False), failed("no_response", "X", "none")):
        assert judge(outcome, ANYTHING) is outcome


@pytest.mark.parametrize(
    "headers",
    [(("taskqueue-control", "abort"),), (("taskqueue-control", "retry"),), (("upstash-nonretryable-error", "true"),)],
)
def test_what_the_target_says_in_so_many_words_is_not_overruled(headers: tuple[tuple[str, str], ...]) -> None:
    for status in (400, 500):
        outcome = answered(status, headers=headers)
        assert judge(outcome, ANYTHING) is outcome
    crashed = answered(200, headers=(*headers, ("x-amz-function-error", "Unhandled")))
    assert judge(crashed, ANYTHING) is crashed
    assert judge(answered(489), ANYTHING).cls.name == "aborted"


def test_the_targets_word_beside_a_success_counts_once_a_rule_says_that_it_is_none() -> None:
    abort, again = (("taskqueue-control", "abort"),), (("taskqueue-control", "retry"),)
    assert judge(answered(200, headers=abort), [rule("retry", status="200")]).cls.name == "aborted"
    assert not judge(answered(200, headers=again), [rule("fail", status="200")]).forced_retry  # fail is final
    assert judge(answered(200, headers=abort), [rule("success", status="200")]).cls.name == "success"


def test_what_an_answer_must_be_kept_whole_for() -> None:
    rules = [rule(status="2xx"), rule(header="x-state"), rule(header="x-left", glob="0"), rule(header="x-state")]
    assert headers_read(rules) == {"x-state", "x-left"}
    assert headers_read([]) == frozenset()
    assert not read_bodies(rules)
    assert read_bodies([*rules, rule(json_path="$.a")])


HOSTILE = {
    "no json at all": b"[" * MIB,
    "a value too long for a glob": b'"' + b"a" * (MIB - 2) + b'"',
    "a value just short enough": b'"' + b"a" * MAX_GLOBBED + b'"',
    "many small values": b"[" + b"[]," * (MIB // 3 - 2) + b"0]",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_body_makes_the_rules_slow(body: bytes) -> None:
    rules = [rule(json_path="$", glob="*a" * 95 + "b"), rule(json_path="$", glob="*" + "a" * 190 + "*b")] * 10
    began = time.process_time()
    outcome = answered(200, body=body)
    assert judge(outcome, rules) is outcome
    assert time.process_time() - began < 3


NUMBERS = st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)  # JSON has no other ones
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=3)


@given(SCALARS, SCALARS.filter(lambda value: value is not None))
def test_values_are_equal_as_their_json_is(value: Any, expected: Any) -> None:
    kinds = {type(each) for each in (value, expected)}
    same = value == expected and (len(kinds) == 1 or kinds == {int, float})
    found = judge(_with(value), [rule(json_path="$.v", equals=expected)]).cls.name == "verdict_retry"
    assert found == same
    listed = judge(_with(value), [rule(json_path="$.v", one_of=(expected,))]).cls.name == "verdict_retry"
    assert listed == same


def _with(value: Any) -> Outcome:
    return answered(200, body=json.dumps({"v": value}).encode())
