"""When a task may start and when it expires: what cannot be meant, and what comes too late."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import UNSET, UnsetType

from taskqueue.web.kinds import YEAR
from taskqueue.web.models import TaskFields
from taskqueue.web.problems import Faults
from taskqueue.web.reading import either

_FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)


def check_times(asked: TaskFields, faults: Faults) -> None:
    """Refuse times that contradict each other.

    What was sound when a key was first used must stay sound for its repeats, so nothing is refused here for being past:
    see ``overdue``.
    """
    if not asked.given("delay", "runAt", "expiresIn", "expiresAt"):
        return
    for one, other in (("delay", "runAt"), ("expiresIn", "expiresAt")):
        if len(asked.given(one, other)) == 2:
            faults.add(asked.at(other), f"{one} and {other} are both given; leave one of them out")
    now = datetime.now(UTC)
    run_at = _bounded(asked.run_at, asked.at("runAt"), faults, last=now + YEAR, ahead="a year")
    expires_at = _bounded(asked.expires_at, asked.at("expiresAt"), faults, last=now + 2 * YEAR, ahead="two years")
    if expires_at and run_at and expires_at <= run_at:
        faults.add(asked.at("expiresAt"), "the task would expire before it may run: expiresAt must be later than runAt")
    first = run_at - now if run_at else either(asked.delay, timedelta(0))
    if asked.expires_in is not UNSET and first >= asked.expires_in:
        faults.add(asked.at("expiresIn"), "the task would expire before it may run; expiresIn counts from the submit")


def _bounded(
    instant: datetime | UnsetType, pointer: str, faults: Faults, *, last: datetime, ahead: str
) -> datetime | None:
    if instant is UNSET:
        return None
    if _FIRST_INSTANT <= instant <= last:
        return instant
    first = f"{_FIRST_INSTANT:%Y-%m-%d}"
    faults.add(pointer, f"expected a time from {first} to {last:%Y-%m-%d}: no more than {ahead} ahead")
    return None


def overdue(asked: TaskFields, now: datetime) -> Iterator[tuple[str, str]]:
    """Where and why the task, or one that follows it, would expire unstarted if it were accepted at ``now``.

    This is no fault of the request itself: as the repeat of one that was accepted in time, it is sound.
    """
    if asked.expires_at is not UNSET:
        if asked.expires_at <= now:
            why = "this time has passed: no attempt could start; name a later one, or leave it out for 7 days"
            yield asked.at("expiresAt"), why
        elif asked.expires_at <= now + either(asked.delay, timedelta(0)):
            yield asked.at("expiresAt"), "the task would expire before its delay is over"
    for follow_up in (asked.on_failure, asked.on_success):
        if follow_up is not UNSET:
            yield from overdue(follow_up.task, now)
