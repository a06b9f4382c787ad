"""Where a task is to be sent and with which headers, of a submit and of an edited redrive alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from msgspec import UNSET, UnsetType

from taskqueue.core.errors import ForbiddenTarget, InvalidTarget, InvalidTask
from taskqueue.core.headers import check_headers
from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.lambda_function import LambdaFunction
from taskqueue.core.target import AllowedTargets, Target, check_spelling, parse_target
from taskqueue.delivery.lambda_submit import check_lambda
from taskqueue.web.models import Redrive, TaskFields
from taskqueue.web.problems import Faults

# Callers name the same few URLs again and again.
_parse = lru_cache(maxsize=4096)(parse_target)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a function would be given."""

    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def callable_target(
    url: str, pointer: str, faults: Faults, allowed: AllowedTargets, *, functions: bool = False
) -> Target | None:
    """``url`` as a target whose spelling may be called; its address is looked at again on every attempt.

    With ``functions`` it may also name one, which ``check_function`` has to see then.
    """
    try:
        target = _parse(url, pointer=pointer, functions=functions)
        if target.lambda_function is None:
            check_spelling(target, allowed)
    except InvalidTarget as error:
        faults.add(error.pointer, error.detail)
    except ForbiddenTarget as error:
        sentence = f"this URL may not be called: {error.reason}"
        faults.add(pointer, f"{sentence}; an operator can allow it in TASKQUEUE_ALLOWED_TARGETS")
    else:
        return target
    return None


def function_of(url: str) -> LambdaFunction | None:
    """The function that the target of an accepted task names, if it is one."""
    try:
        return _parse(url, functions=True).lambda_function
    except InvalidTarget:  # taken by a version with other rules
        return None


def check_function(
    function: LambdaFunction,
    endpoint: LambdaEndpoint | None,
    sent: Sent,
    asked: TaskFields | Redrive,
    faults: Faults,
) -> None:
    """Leave a fault in what was ``asked`` unless ``function`` can be invoked here, and with what is ``sent``."""
    try:
        check_lambda(function, endpoint, method=sent.method, headers=sent.headers, body=sent.body)
    except InvalidTask as error:
        name, slash, rest = error.pointer[1:].partition("/")
        given = asked.given("body", "bodyBase64") if name == "body" else []
        faults.add(asked.at(given[0] if given else name) + slash + rest, error.detail)


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


def flow_key_of(key: str) -> str:
    """``key``; or where it is the bare origin of a URL, that origin as tasks without a flow key have it, so that
    `https://your-app.example` means all that is sent there."""
    try:
        target = parse_target(key, functions=True)
    except InvalidTarget:
        return key
    return target.origin if target.path == "/" else key
