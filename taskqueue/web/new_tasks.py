"""From a submitted model to a ``NewTask``: what its fields mean together."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from msgspec import UNSET, UnsetType

from taskqueue.core import retry
from taskqueue.core.retry import BackoffType, Jitter
from taskqueue.core.target import AllowedTargets
from taskqueue.core.task import DEFAULT_TIMEOUT, ENDINGS_TOLD, NewTask, TaskSpec
from taskqueue.web.contents import metadata, read_content
from taskqueue.web.models import YEAR, Backoff, SubmitTask
from taskqueue.web.problems import Faults
from taskqueue.web.reading import either
from taskqueue.web.targets import callable_target, checked_headers

_FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_task(
    asked: SubmitTask, faults: Faults, *, project: str, traceparent: str | None, allowed: AllowedTargets
) -> NewTask | None:
    """The task that ``asked`` describes, or ``None`` with the reasons in ``faults``."""
    target = callable_target(asked.target_url, asked.at("targetUrl"), faults, allowed)
    content = read_content(asked, faults, method=asked.method)
    webhook_url = _webhook_url(asked, faults, allowed)
    headers = checked_headers(asked.headers, asked.at("headers"), faults)
    kept_metadata = metadata(asked, faults)
    backoff = _backoff(asked.backoff, faults) if asked.backoff is not UNSET else None
    _check_times(asked, faults)
    if faults or target is None:
        return None
    spec = TaskSpec(
        project=project,
        target_url=target.url,
        origin=target.origin,
        target_host=target.host,
        method=asked.method,
        headers=headers or (),
        body=content.body if content else None,
        content_type=content.content_type if content else None,
        webhook_url=webhook_url,
        webhook_events=frozenset(either(asked.webhook_events, ENDINGS_TOLD)),
        retries=asked.retries,
        timeout=either(asked.timeout, DEFAULT_TIMEOUT),
        backoff=backoff,
        queue=asked.queue,
        ordering_key=either(asked.ordering_key, None),
        labels=tuple(dict.fromkeys(asked.labels)),
        metadata=kept_metadata,
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
    )
    return NewTask(
        spec=spec,
        run_at=either(asked.run_at, None),
        delay=either(asked.delay, timedelta(0)),
        expires_at=either(asked.expires_at, None),
        expires_in=either(asked.expires_in, None),
    )


def overdue(asked: SubmitTask, now: datetime) -> str | None:
    """Why the task would expire unstarted if it were accepted at ``now``; ``None`` if it would not.

    This is no fault of the request itself: as the repeat of one that was accepted in time, it is sound.
    """
    if asked.expires_at is UNSET:
        return None
    if asked.expires_at <= now:
        return "this time has passed: no attempt could start; name a later one, or leave it out for 7 days"
    if asked.expires_at <= now + either(asked.delay, timedelta(0)):
        return "the task would expire before its delay is over"
    return None


def _webhook_url(asked: SubmitTask, faults: Faults, allowed: AllowedTargets) -> str | None:
    if asked.webhook_url is UNSET:
        if asked.given("webhookEvents"):
            faults.add(
                asked.at("webhookEvents"), "there is no webhookUrl to tell; give one, or leave webhookEvents out"
            )
        return None
    target = callable_target(asked.webhook_url, asked.at("webhookUrl"), faults, allowed)
    return target.url if target else None


def _backoff(asked: Backoff, faults: Faults) -> retry.Backoff:
    """The backoff as the core knows it. Waits that were named are never cut by a default."""
    kind = BackoffType(asked.type)
    waits = tuple(either(asked.schedule, ()))
    if kind is BackoffType.SCHEDULE and not asked.given("schedule"):
        faults.add(asked.at("schedule"), 'type "schedule" needs a schedule: a list of waits such as ["10s", "1m"]')
    if kind is not BackoffType.SCHEDULE and asked.given("schedule"):
        faults.add(asked.at("schedule"), 'a schedule goes with type "schedule" alone; name that type or leave it out')
    if asked.factor is not UNSET and kind is not BackoffType.EXPONENTIAL:
        faults.add(asked.at("factor"), 'a factor goes with type "exponential" alone; leave it out')
    if asked.initial is not UNSET and kind is BackoffType.SCHEDULE:
        faults.add(
            asked.at("initial"), 'with type "schedule" the first wait is the first of the schedule; leave it out'
        )
    if asked.max is not UNSET:
        if asked.initial is not UNSET and asked.initial > asked.max:
            faults.add(
                asked.at("initial"), "the first wait is longer than max, the longest; raise max or lower initial"
            )
        if any(wait > asked.max for wait in waits):
            faults.add(asked.at("schedule"), "a wait is longer than max, the longest; raise max or leave it out")
    normal = retry.NORMAL
    initial = either(asked.initial, normal.initial)
    return retry.Backoff(
        type=kind,
        initial=initial,
        factor=either(asked.factor, normal.factor),
        max=either(asked.max, max(normal.max, initial, *waits)),
        jitter=Jitter(asked.jitter),
        schedule=waits,
    )


def _check_times(asked: SubmitTask, faults: Faults) -> None:
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
