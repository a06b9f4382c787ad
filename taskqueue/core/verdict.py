"""Verdicts: what an answer means for a target whose status code does not say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_VERDICTS = 20


class Ruling(StrEnum):
    """What a verdict makes of an answer."""

    SUCCESS = "success"
    RETRY = "retry"
    FAIL = "fail"
    DEFER = "defer"


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Conditions on one answer; all that are given must hold. Without a test, what is named must be there."""

    status: str | None = None  # 409, 500-599 or 5xx
    header: str | None = None  # its name, in lower case
    json_path: str | None = None  # into the body, such as $.error.code
    equals: str | int | float | bool | None = None
    one_of: tuple[str | int | float | bool | None, ...] = ()
    exists: bool | None = None
    glob: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """If an answer is so, then it means this."""

    when: When
    outcome: Ruling
