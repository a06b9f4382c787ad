"""Verdicts, as they are asked for and as the core knows them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from taskqueue.core import pattern
from taskqueue.core.errors import InvalidTask
from taskqueue.core.json_body import parse_path
from taskqueue.core.verdict import MAX_VERDICTS, Ruling, Verdict, When
from taskqueue.web.fields import about, checked, matching
from taskqueue.web.problems import Faults
from taskqueue.web.reading import Model, either

_SUBJECTS = ("status", "header", "jsonPath")
_TESTS = ("equals", "in", "exists", "glob")
_NEVER_JUDGED = re.compile(r"489|3(?:[0-9]{2}|xx)(?:-3[0-9]{2})?")
_MOST = 1024  # characters
_NUMBERS = Meta(ge=-(2**63), le=2**63 - 1)
_PLAIN = {
    "expected": f"a text of up to {_MOST} characters, a number (an integer of at most 64 bits), true, false or null"
}
_PlainValue = Annotated[
    Annotated[str, Meta(max_length=_MOST)] | Annotated[int, _NUMBERS] | float | bool | None,
    Meta(description="A JSON value that is no array and no object", extra=_PLAIN),
]


def _check_status(text: str, pointer: str) -> None:
    try:
        pattern.check(f"status:{text}", pointer)
    except InvalidTask:
        raise InvalidTask(pointer, 'expected "409", "500-599" or "5xx", within 200 to 599') from None
    if _NEVER_JUDGED.fullmatch(text):
        raise InvalidTask(pointer, "no verdict is asked about a redirect or a 489: what they mean is settled")


def _check_path(text: str, pointer: str) -> None:
    try:
        parse_path(text)
    except ValueError as error:
        raise InvalidTask(pointer, str(error)) from None


class VerdictWhen(Model):
    """Conditions on one answer; all that are given must hold. Without a test, what is named must be there."""

    status: Annotated[str, checked(_check_status, "`409`, `500-599` or `5xx`")] | UnsetType = UNSET
    header: (
        Annotated[
            str,
            matching(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", "the name of a header", "A header of the answer"),
        ]
        | UnsetType
    ) = UNSET
    json_path: (
        Annotated[
            str,
            checked(_check_path, "A place in the JSON body, such as `$.error.code`, `$['an error']` or `$.items[-1]`"),
        ]
        | UnsetType
    ) = UNSET
    equals: Annotated[_PlainValue, about("It must be this very value")] | UnsetType = UNSET
    one_of: (
        Annotated[list[_PlainValue], about("It must be one of these values", min_length=1, max_length=100)] | UnsetType
    ) = field(default=UNSET, name="in")
    exists: Annotated[bool, about("Whether it must be there or must be absent")] | UnsetType = UNSET
    glob: (
        Annotated[str, about("A text that matches this, such as `*limit*`", min_length=1, max_length=200)] | UnsetType
    ) = UNSET


class VerdictRule(Model):
    """If an answer is so, then it means this."""

    when: Annotated[VerdictWhen, about("What the answer must be")]
    outcome: Annotated[Literal["success", "retry", "fail", "defer"], about("What it means then")]


Verdicts = Annotated[
    list[VerdictRule],
    about(
        "How to read a target whose status codes do not tell; the first that matches decides",
        min_length=1,
        max_length=MAX_VERDICTS,
    ),
]


def verdicts_of(asked: Iterable[VerdictRule], faults: Faults) -> tuple[Verdict, ...]:
    """The verdicts as the core knows them."""
    return tuple(Verdict(when=_when(verdict.when, faults), outcome=Ruling(verdict.outcome)) for verdict in asked)


def _when(asked: VerdictWhen, faults: Faults) -> When:
    _check_subjects(asked, faults)
    _check_tests(asked, faults)
    equals, one_of = either(asked.equals, None), tuple(either(asked.one_of, ()))
    if asked.given("equals") and equals is None:
        one_of = (None,)  # in the core, no value to equal means that none was asked for
    return When(
        status=either(asked.status, None),
        header=asked.header.lower() if asked.header is not UNSET else None,
        json_path=either(asked.json_path, None),
        equals=equals,
        one_of=one_of,
        exists=either(asked.exists, None),
        glob=either(asked.glob, None),
    )


def _check_subjects(asked: VerdictWhen, faults: Faults) -> None:
    if not asked.given(*_SUBJECTS):
        faults.add(asked.pointer, "a verdict looks at something: give status, header or jsonPath")
    if len(asked.given("header", "jsonPath")) == 2:
        faults.add(asked.at("jsonPath"), "header and jsonPath are both given; a verdict looks at one of them")


def _check_tests(asked: VerdictWhen, faults: Faults) -> None:
    tests = asked.given(*_TESTS)
    if tests and not asked.given("header", "jsonPath"):
        faults.add(asked.at(tests[0]), f"{tests[0]} says what a header or a jsonPath must be; give one of them")
    if len(tests) > 1:
        faults.add(asked.at(tests[1]), f"{tests[0]} and {tests[1]} are both given; a verdict makes one test")
    if asked.header is UNSET:
        return
    values = [("equals", asked.equals)] if asked.equals is not UNSET else []
    values += [(f"in/{index}", value) for index, value in enumerate(either(asked.one_of, []))]
    for name, value in values:
        if not isinstance(value, str):
            faults.add(asked.at(name), "the value of a header is a text; write it in quotes")
