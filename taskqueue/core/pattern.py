"""Patterns that pick outcomes: by class, status, error type, or by how much work may have been done."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache

from taskqueue.core.errors import InvalidTask
from taskqueue.core.outcome import CLASSES, Charge, Outcome, Partial

MAX_LENGTH = 200
# Nobody's failure: nothing was asked of the target, or nothing is left to decide.
UNMATCHED = frozenset({"success", "cancelled", "released", "local_resource"})
_NO_DEATHS = frozenset({"success", "cancelled"})
_ERROR_TYPE = re.compile(r"[A-Z][A-Za-z0-9_.]*\*?")  # classes are in lower case
_PARTIALS = {partial.label: partial for partial in Partial}


@dataclass(frozen=True, slots=True)
class Facts:
    """What patterns look at. ``reason`` is why the task died, where it has."""

    cls: str
    status: int | None
    error_type: str | None
    partial: Partial
    reason: str | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Facts:
        status = outcome.response.status if outcome.response else None
        return cls(outcome.cls.name, status, outcome.error_type, outcome.partial)


def matches(patterns: Iterable[str], facts: Facts) -> bool:
    """Whether any of ``patterns`` picks these facts."""
    return any(_matches(pattern, facts) for pattern in patterns)


def check(pattern: str, pointer: str, *, reasons: Iterable[str] = ()) -> None:
    """Raise ``InvalidTask`` for a pattern that can never match. ``reasons`` are those that may be named here."""
    kind, colon, value = pattern.partition(":")
    if len(pattern) > MAX_LENGTH:
        raise InvalidTask(pointer, f"a pattern has at most {MAX_LENGTH} characters")
    if not colon:
        if not (_deaths(pattern) if reasons else classes(pattern)):
            raise InvalidTask(pointer, f"no outcome class that can be decided over matches this{_class_meant(pattern)}")
    elif kind == "status":
        if _statuses(value) is None:
            raise InvalidTask(pointer, "expected status:409, status:500-599 or status:5xx, within 200 to 599")
    elif kind == "errorType":
        if not value:
            raise InvalidTask(pointer, "expected an error type after errorType:, such as errorType:Payment*")
    elif kind == "partial":
        if value not in _PARTIALS:
            raise InvalidTask(pointer, "expected partial:no, partial:possible or partial:likely")
    elif kind == "reason" and reasons:
        if value not in reasons:
            raise InvalidTask(pointer, f"expected reason: and one of {', '.join(sorted(reasons))}")
    else:
        kinds = ["status:", "errorType:", "partial:", *(["reason:"] if reasons else [])]
        meant = next((each for each in kinds if each.lower() == f"{kind.lower()}:"), None)
        hint = f'; did you mean "{meant}{value}"?' if meant else ""
        raise InvalidTask(pointer, f"expected an outcome class, or a pattern that begins with {', '.join(kinds)}{hint}")


def _class_meant(pattern: str) -> str:
    """What to write instead of what is no class and no glob that picks one."""
    if _statuses(pattern) is not None:
        meant: str | None = f"status:{pattern}"
    elif _ERROR_TYPE.fullmatch(pattern):
        meant = f"errorType:{pattern}"
    else:
        meant = next(iter(get_close_matches(pattern, CLASSES.keys() - UNMATCHED, n=1)), None)
    return f'; did you mean "{meant}"?' if meant else ", such as timeout or function_*"


def _matches(pattern: str, facts: Facts) -> bool:
    kind, colon, value = pattern.partition(":")
    if not colon:
        return facts.cls in (classes(pattern) if facts.reason is None else _deaths(pattern))
    match kind:
        case "status":
            return facts.status is not None and facts.status in (_statuses(value) or ())
        case "errorType":
            return facts.error_type is not None and fnmatchcase(facts.error_type, value)
        case "partial":
            return facts.partial is _PARTIALS.get(value)
        case "reason":
            return facts.reason == value
    return False


@lru_cache(maxsize=256)
def classes(pattern: str) -> frozenset[str]:
    """The classes of attempts that a name or a glob picks; none for a pattern of another kind.

    A lost worker has a limit of its own: only its name picks it, no glob.
    """
    found = (
        name
        for name, row in CLASSES.items()
        if name == pattern or (fnmatchcase(name, pattern) and row.charge is not Charge.LOST)
    )
    return frozenset(found) - UNMATCHED


@lru_cache(maxsize=256)
def _deaths(pattern: str) -> frozenset[str]:
    """The classes that a task's last attempt may have had when it died. A glob means what it says here: there is no
    budget any more that it could use up."""
    return frozenset(name for name in CLASSES if fnmatchcase(name, pattern)) - _NO_DEATHS


@lru_cache(maxsize=256)
def _statuses(text: str) -> range | None:
    """``409``, ``500-599`` or ``5xx`` as a range; ``None`` for anything else."""
    if len(text) == 3 and text[0] in "2345" and text[1:] == "xx":
        return range(int(text[0]) * 100, int(text[0]) * 100 + 100)
    first, dash, last = text.partition("-")
    if not (_is_status(first) and (not dash or _is_status(last))):
        return None
    return range(int(first), int(last if dash else first) + 1) or None


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit() and 200 <= int(text) <= 599
