"""How a play is to be played: what the query or the payload asks for beside its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue.faultlab.wire import BadRequest, Headers, Request

MAX_AFTER = 900.0
# Each with how it is written; the names are those of the wire.
NAMES: Mapping[str, str] = {
    "times": "fail so often for each task, then succeed",
    "after": "wait so many seconds first",
    "status": "which status of the class to answer with",
    "retryAfter": "send Retry-After: seconds or a date",
    "rateLimitReset": "send X-RateLimit-Reset: seconds or an epoch",
    "control": "send Taskqueue-Control: abort or retry",
    "body": "answer with this text",
}
_SENT = {"retryAfter": "Retry-After", "rateLimitReset": "X-RateLimit-Reset", "control": "Taskqueue-Control"}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; everything may be left out."""

    times: int | None = None
    after: float = 0.0
    status: int | None = None
    headers: Headers = ()
    body: bytes | None = None

    @classmethod
    def of(cls, request: Request) -> Options:
        """Those of the query, then those of a payload that names a play; ``BadRequest`` says what is wrong."""
        if unknown := request.query.keys() - NAMES.keys() - {"play", "state"}:
            raise BadRequest(f"there is no option {min(unknown)[:60]!r}; there are: {', '.join(NAMES)}")
        payload = request.json if named(request) is not None else {}
        given: dict[str, Any] = {name: payload[name] for name in NAMES if name in payload} | request.query
        body = given.get("body")
        return cls(
            times=_number(given, "times", 0, 1000),
            after=_number(given, "after", 0.0, MAX_AFTER) or 0.0,
            status=_number(given, "status", 100, 999),
            headers=tuple((header, _line(given[name])) for name, header in _SENT.items() if name in given),
            body=None if body is None else str(body).encode(),
        )


def named(request: Request) -> str | None:
    """The play that a payload asks for."""
    payload = request.json
    play = payload.get("play") if isinstance(payload, dict) else None
    return play if isinstance(play, str) else None


def _number(given: Mapping[str, Any], name: str, least: Any, most: Any) -> Any:
    if name not in given:
        return None
    try:
        number = type(least)(given[name])
    except (TypeError, ValueError):
        number = None
    if number is None or not least <= number <= most:
        raise BadRequest(f"{name} must be a number from {least} to {most}")
    return number


def _line(value: Any) -> str:
    """Fit for a header: one that split the answer in two would play something else."""
    return " ".join(str(value).split())[:200]
