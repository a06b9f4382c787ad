"""Patterns: what they pick, and which can never pick anything."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.errors import InvalidTask
from taskqueue.core.outcome import CLASSES, Partial
from taskqueue.core.pattern import UNMATCHED, Facts, check, matches
from taskqueue.core.reason import DeadReason
from tests.core.examples import answered, cut

REASONS = [reason.value for reason in DeadReason]
FACTS = Facts("conflict", 409, "AccountLocked", Partial.LIKELY, "exhausted")
SOUND = ("conflict", "con*", "*", "status:409", "status:4xx", "status:400-499", "errorType:Account*", "partial:likely")


def refused(pattern: str, *, reasons: list[str] | None = None) -> str:
    """Why ``pattern`` cannot be accepted."""
    with pytest.raises(InvalidTask) as raised:
        check(pattern, "/retryPolicy/0/match/0", reasons=reasons or [])
    assert raised.value.pointer == "/retryPolicy/0/match/0"
    return raised.value.detail


@pytest.mark.parametrize("pattern", SOUND)
def test_each_kind_of_pattern_picks_what_it_names(pattern: str) -> None:
    check(pattern, "/p")
    assert matches([pattern], FACTS)
    assert not matches([pattern], Facts("worker_lost", None, None, Partial.POSSIBLE))


@pytest.mark.parametrize(
    "pattern",
    ["timeout", "c", "status:408", "status:5xx", "status:410-499", "errorType:account*", "partial:no", "reason:lost"],
)
def test_a_pattern_picks_nothing_else(pattern: str) -> None:
    assert not matches([pattern], FACTS)


def test_one_of_several_patterns_is_enough() -> None:
    assert matches(["timeout", "status:409"], FACTS)
    assert not matches(["timeout", "status:408"], FACTS)
    assert not matches([], FACTS)


def test_statuses_include_both_ends() -> None:
    for status, picked in ((499, False), (500, True), (599, True), (600, False)):
        facts = Facts("server_error", status, None, Partial.NO)
        assert matches(["status:500-599"], facts) == matches(["status:5xx"], facts) == picked


def test_an_outcome_without_an_answer_has_no_status() -> None:
    assert Facts.of(cut("timeout")) == Facts("timeout", None, "TestFailure", Partial.LIKELY)
    assert not matches(["status:200-599"], Facts.of(cut("timeout")))
    assert Facts.of(answered(409)) == Facts("conflict", 409, "HTTPStatus", Partial.LIKELY)


def test_an_outcome_without_an_error_type_matches_none() -> None:
    assert not matches(["errorType:*"], Facts("timeout", None, None, Partial.NO))


@pytest.mark.parametrize("name", ["worker_lost", "interrupted"])
def test_a_lost_worker_is_picked_by_its_name_or_its_partial_work_and_by_no_glob(name: str) -> None:
    facts = Facts.of(cut(name))
    assert matches([name], facts)
    assert matches(["partial:possible"], facts)
    assert not matches(["*", "worker_*", "inter*", f"{name}*"], facts)


@pytest.mark.parametrize("name", sorted(UNMATCHED))
def test_what_is_nobodys_failure_cannot_be_named(name: str) -> None:
    assert "no outcome class that can be decided over" in refused(name)
    assert not matches([name, "*"], Facts(name, None, None, Partial.NO))


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - UNMATCHED))
def test_every_other_class_can_be_named(name: str) -> None:
    check(name, "/p")
    assert matches([name], Facts(name, None, None, Partial.NO))


def test_a_misspelled_class_is_answered_with_the_one_that_may_be_meant() -> None:
    assert refused("timeuot").endswith('did you mean "timeout"?')
    assert refused("zzz").endswith("such as timeout or function_*")
    assert "did you mean" not in refused("success")


@pytest.mark.parametrize("status", ["409", "5xx", "500-599"])
def test_a_bare_status_is_answered_with_the_pattern_that_is_meant(status: str) -> None:
    assert refused(status).endswith(f'did you mean "status:{status}"?')


@pytest.mark.parametrize("name", ["KeyError", "Runtime.ExitError", "CardDeclined*"])
def test_a_bare_error_type_is_answered_with_the_pattern_that_is_meant(name: str) -> None:
    assert refused(name).endswith(f'did you mean "errorType:{name}"?')


def test_a_kind_in_other_letters_is_answered_with_the_one_that_is_meant() -> None:
    assert refused("errortype:Foo").endswith('did you mean "errorType:Foo"?')
    assert refused("STATUS:409").endswith('did you mean "status:409"?')
    assert refused("Reason:lost", reasons=REASONS).endswith('did you mean "reason:lost"?')
    assert "did you mean" not in refused("reason:lost")


@pytest.mark.parametrize(
    "text", ["", "40", "4000", "abc", "4xxx", "6xx", "1xx", "199", "600", "500-", "-500", "599-500", "٤٠٤", "5xx-6xx"]
)
def test_a_status_that_no_answer_can_have_is_refused(text: str) -> None:
    assert refused(f"status:{text}") == "expected status:409, status:500-599 or status:5xx, within 200 to 599"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("errorType:", "expected an error type after errorType:"),
        ("partial:maybe", "expected partial:no, partial:possible or partial:likely"),
        ("", "no outcome class"),
        ("class:timeout", "begins with status:, errorType:, partial:"),
        ("reason:exhausted", "begins with status:, errorType:, partial:"),
        ("x" * 201, "at most 200 characters"),
    ],
)
def test_a_pattern_that_can_pick_nothing_is_refused(pattern: str, words: str) -> None:
    assert words in refused(pattern)
    assert not matches([pattern], Facts("timeout", 409, None, Partial.NO))


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"success", "cancelled"}))
def test_of_a_death_a_glob_picks_whatever_class_it_was(name: str) -> None:
    death = Facts(name, None, None, Partial.NO, "expired")
    for pattern in (name, "*", f"{name[:3]}*"):
        check(pattern, "/onFailure/match/0", reasons=REASONS)
        assert matches([pattern], death), pattern
    assert not matches(["zzz*"], death)


@pytest.mark.parametrize("name", ["success", "cancelled"])
def test_nobody_dies_of_what_is_no_death(name: str) -> None:
    assert "no outcome class" in refused(name, reasons=REASONS)
    assert not matches(["*"], Facts(name, None, None, Partial.NO, "expired"))


def test_reasons_can_be_named_where_there_is_a_death() -> None:
    for reason in REASONS:
        check(f"reason:{reason}", "/p", reasons=REASONS)
    assert matches(["reason:exhausted"], FACTS)
    assert "expected reason: and one of exhausted, expired" in refused("reason:tired", reasons=REASONS)
    assert "partial:, reason:" in refused("cause:exhausted", reasons=REASONS)


@given(st.text(max_size=250) | st.from_regex(r"(status|errorType|partial|reason)?:?[\[\]!*?0-9a-zA-Z^|&~-]{0,40}"))
def test_no_text_breaks_the_checking_or_the_matching(text: str) -> None:
    with suppress(InvalidTask):
        check(text, "/p", reasons=REASONS)
    matches([text], FACTS)
