"""Verdicts: what an answer means for a target whose status code does not say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from taskqueue.core.answer import control, steered
from taskqueue.core.json_body import MISSING, NotJson, find, parse_path, read_json
from taskqueue.core.outcome import CLASSES, Outcome, Response
from taskqueue.core.pattern import Facts, matches
from taskqueue.core.text import clean

MAX_VERDICTS = 20
MAX_GLOBBED = 8192  # characters; no glob matches a longer text
_SHOWN = 100
Scalar = str | int | float | bool | None


class Ruling(StrEnum):
    """What a verdict makes of an answer."""

    SUCCESS = "success"
    RETRY = "retry"
    FAIL = "fail"
    DEFER = "defer"


_CLASSES: Mapping[Ruling, str] = {
    Ruling.SUCCESS: "success",
    Ruling.RETRY: "verdict_retry",
    Ruling.FAIL: "verdict_fail",
    Ruling.DEFER: "verdict_defer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Conditions on one answer; all that are given must hold. Without a test, what is named must be there.

    Tests compare as JSON does: ``true`` is not 1, and 1 is 1.0. A header is always text.
    """

    status: str | None = None  # 409, 500-599 or 5xx
    header: str | None = None  # its name, in lower case
    json_path: str | None = None  # into the body, such as $.error.code
    equals: Scalar = None  # None: no such test; what must be null is `one_of` (None,)
    one_of: tuple[Scalar, ...] = ()
    exists: bool | None = None
    glob: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """If an answer is so, then it means this."""

    when: When
    outcome: Ruling


def headers_read(verdicts: Iterable[Verdict]) -> frozenset[str]:
    """The headers that ``verdicts`` look at."""
    return frozenset(verdict.when.header for verdict in verdicts if verdict.when.header is not None)


def read_bodies(verdicts: Iterable[Verdict]) -> bool:
    """Whether any of ``verdicts`` needs the whole body."""
    return any(verdict.when.json_path is not None for verdict in verdicts)


def judge(outcome: Outcome, verdicts: Sequence[Verdict]) -> Outcome:
    """``outcome`` as the first verdict that matches has it; as it is when none does, or there is no whole answer.

    The body should be all of the answer's: what is cut, compressed or no JSON meets no condition on a path. What
    the target said in so many words (489, ``Taskqueue-Control``) is not overruled.
    """
    response = outcome.response
    if response is None or not _judged(outcome, response):
        return outcome
    facts, document = Facts.of(outcome), _Document(response)
    for number, verdict in enumerate(verdicts):
        when = verdict.when
        if when.status is not None and not matches((f"status:{when.status}",), facts):
            continue
        if _holds(when, response, document):
            return _ruled(outcome, verdict, number)
    return outcome


def _judged(outcome: Outcome, response: Response) -> bool:
    if outcome.cls.name == "truncated_response" or not (200 <= response.status <= 299 or 400 <= response.status <= 599):
        return False
    # A word of the target steers failures only: beside a success it says nothing yet.
    return outcome.cls.name == "success" or control(response) is None


def _ruled(outcome: Outcome, verdict: Verdict, number: int) -> Outcome:
    cls = CLASSES[_CLASSES[verdict.outcome]]
    if verdict.outcome is Ruling.SUCCESS:
        return replace(outcome, cls=cls, error_type=None, error_message=None, stack=())
    message = clean(f"verdict {number} says {verdict.outcome}: {_said(verdict.when, outcome.response)}", 1000)
    return steered(replace(outcome, cls=cls, error_type="Verdict", error_message=message))


class _Document:
    """The body of one answer, parsed when it is first asked for."""

    __slots__ = ("_response", "_value")

    def __init__(self, response: Response) -> None:
        self._response: Response | None = response  # until it has been read
        self._value: object = MISSING

    def at(self, path: str) -> object:
        """What ``path`` leads to; raises ``NotJson`` where there is no such document."""
        if self._response is not None:
            response, self._response = self._response, None
            if not response.truncated and response.header("content-encoding") in (None, "identity"):
                with suppress(NotJson):
                    self._value = read_json(response.body)
        if self._value is MISSING:
            raise NotJson("cut, compressed or another format")
        return find(self._value, parse_path(path))


def _holds(when: When, response: Response, document: _Document) -> bool:
    if when.header is not None:
        value = response.header(when.header)
        return _passes(when, MISSING if value is None else value)
    if when.json_path is not None:
        try:
            return _passes(when, document.at(when.json_path))
        except ValueError:  # no JSON; or a path that no version of this service takes
            return False
    return True


def _passes(when: When, value: object) -> bool:
    if when.exists is not None:
        return (value is not MISSING) is when.exists
    if value is MISSING:
        return False
    if when.glob is not None:
        return isinstance(value, str) and len(value) <= MAX_GLOBBED and fnmatchcase(value, when.glob)
    if when.one_of:
        return any(_same(value, one) for one in when.one_of)
    return when.equals is None or _same(value, when.equals)


def _same(value: object, expected: Scalar) -> bool:
    """Whether two JSON values are one: of the same kind, and numbers by their worth."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return value == expected
    return type(value) is type(expected) and value == expected


def _said(when: When, response: Response | None) -> str:
    """What was found, as far as the rule foresaw it: other texts differ each time, and may be secrets."""
    said = [f"the status is {response.status}"] if when.status is not None and response is not None else []
    if when.header is not None or when.json_path is not None:
        said.append(f"{f'header {when.header}' if when.header is not None else when.json_path} {_test(when)}")
    return ", ".join(said)


def _test(when: When) -> str:
    if when.glob is not None:
        return f"is like {_shown(when.glob)}"
    if when.one_of:
        return f"is {'one of ' if len(when.one_of) > 1 else ''}{', '.join(map(_shown, when.one_of))}"
    if when.equals is not None:
        return f"is {_shown(when.equals)}"
    return "is not there" if when.exists is False else "is there"


def _shown(value: Scalar) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
