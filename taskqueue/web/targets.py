"""Where a task is to be sent and with which headers, of a submit and of an edited redrive alike."""

from __future__ import annotations

from functools import lru_cache

from msgspec import UNSET, UnsetType

from taskqueue.core.errors import ForbiddenTarget, InvalidTarget, InvalidTask
from taskqueue.core.headers import check_headers
from taskqueue.core.target import AllowedTargets, Target, check_spelling, parse_target
from taskqueue.web.problems import Faults

# Callers name the same few URLs again and again.
_parse = lru_cache(maxsize=4096)(parse_target)


def callable_target(url: str, pointer: str, faults: Faults, allowed: AllowedTargets) -> Target | None:
    """``url`` as a target whose spelling may be called; its address is looked at again on every attempt."""
    if url[:9].lower() == "lambda://":
        faults.add(pointer, "lambda:// targets are not built yet; give the function a URL and name that")
        return None
    try:
        target = _parse(url, pointer=pointer)
        check_spelling(target, allowed)
    except InvalidTarget as error:
        faults.add(error.pointer, error.detail)
    except ForbiddenTarget as error:
        sentence = f"this URL may not be called: {error.reason}"
        faults.add(pointer, f"{sentence}; an operator can allow it in TASKQUEUE_ALLOWED_TARGETS")
    else:
        return target
    return None


def checked_headers(
    headers: dict[str, str] | UnsetType, pointer: str, faults: Faults
) -> tuple[tuple[str, str], ...] | None:
    """Headers that may be sent; ``None`` when none were given, or not these."""
    if headers is UNSET:
        return None
    try:
        check_headers(headers, pointer)
    except InvalidTask as error:
        faults.add(error.pointer, error.detail)
        return None
    return tuple(headers.items())
