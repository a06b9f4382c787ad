"""A plan as callers see it: in instants, or in seconds from its start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, TypedDict, TypeVar, cast

from taskqueue.core.plan import Plan, Window
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import TaskState

When = TypeVar("When")  # an instant as text, or seconds from the first attempt


class PlannedAttempt(TypedDict, Generic[When]):
    """An attempt to come; ``null`` where the task would have given up before."""

    number: int
    kind: str
    outcome: str  # what it is supposed to end in
    charged: bool
    earliest: When  # with the shortest waits
    expected: When | None
    latest: When | None  # with the longest waits


class GivesUp(TypedDict, Generic[When]):
    """Why and when there is no further attempt."""

    reason: str
    earliest: When
    expected: When | None
    latest: When | None


class Forecast(TypedDict):
    """The attempts to come, if they end as supposed."""

    attempts: list[PlannedAttempt[str]]
    complete: bool  # false: and so on
    givesUp: GivesUp[str] | None  # null: it succeeds, or goes on until it expires


class Simulation(TypedDict):
    """Every attempt, if they end as supposed, in seconds from the first."""

    attempts: list[PlannedAttempt[float]]
    complete: bool  # false: and so on
    givesUp: GivesUp[float] | None  # null: it succeeds, or goes on until it expires


def in_instants(plan: Plan) -> Forecast:
    return cast(Forecast, _shown(plan, rfc3339))


def in_seconds(plan: Plan, start: datetime) -> Simulation:
    return cast(Simulation, _shown(plan, lambda instant: round((instant - start) / timedelta(seconds=1), 3)))


def in_words(plan: Plan, *, expires_at: datetime | None = None) -> str:
    """The plan in a few words, without times but for that of a given expiry which ends it."""
    count = len(plan.attempts)
    if plan.state is None:
        until = rfc3339(expires_at) if expires_at is not None else "it expires"
        return f"{count} attempts and so on, until {until}"
    attempts = "no attempt" if not count else "one attempt" if count == 1 else f"{count} attempts"
    return f"{attempts}, then {'success' if plan.state is TaskState.SUCCEEDED else f'dead ({plan.reason})'}"


def _shown(plan: Plan, shown: Callable[[datetime], Any]) -> dict[str, Any]:
    return {
        "attempts": [
            {
                "number": each.number,
                "kind": each.kind.value,
                "outcome": each.outcome,
                "charged": each.charged,
                **_window(each.window, shown),
            }
            for each in plan.attempts
        ],
        "complete": plan.state is not None,
        "givesUp": {"reason": plan.reason.value, **_window(plan.ends, shown)} if plan.reason and plan.ends else None,
    }


def _window(window: Window, shown: Callable[[datetime], Any]) -> dict[str, Any]:
    return {
        "earliest": shown(window.earliest),
        "expected": shown(window.expected) if window.expected is not None else None,
        "latest": shown(window.latest) if window.latest is not None else None,
    }
