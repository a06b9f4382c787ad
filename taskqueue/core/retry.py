"""How long to wait before the next attempt. Durable: the wait becomes a row with a later ``not_before``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache

from tenacity import RetryCallState, Retrying, wait_chain, wait_exponential, wait_fixed, wait_incrementing
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_base

from taskqueue.core.outcome import Outcome, Wait

MAX_RETRY_AFTER = timedelta(hours=24)
MIN_RETRY_AFTER = timedelta(seconds=1)
RETRY_AFTER_JITTER = 0.1
_RATE_LIMITS = ("x-ratelimit", "ratelimit")
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e11  # what is larger is an instant and no span
_MAX_DATE = 100
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


class BackoffType(StrEnum):
    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"
    SCHEDULE = "schedule"


class Jitter(StrEnum):
    """How much of a wait is left to chance."""

    FULL = "full"  # anything from nothing to the whole wait
    EQUAL = "equal"  # the upper half
    SLIGHT = "slight"  # ±20 %, for webhooks
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The waits between attempts. ``linear`` adds ``initial`` each time; ``schedule`` repeats its last entry."""

    type: BackoffType = BackoffType.EXPONENTIAL
    initial: timedelta = timedelta(seconds=2)
    factor: float = 2.0
    max: timedelta = timedelta(minutes=15)
    jitter: Jitter = Jitter.FULL
    schedule: tuple[timedelta, ...] = ()

    def delay(self, attempt: int, *, jitter: float) -> timedelta:
        """Wait after charged attempt ``attempt`` (from 1) failed; the caller draws ``jitter`` from [0, 1]."""
        whole = min(float(_waits(self)(_after(attempt))), self.max.total_seconds())
        return timedelta(seconds=_jittered(whole, self.jitter, jitter))


NORMAL = Backoff()
SLOW = Backoff(initial=timedelta(seconds=30), max=timedelta(hours=1))
WEBHOOK = Backoff(
    type=BackoffType.SCHEDULE,
    schedule=(
        timedelta(seconds=5),
        timedelta(minutes=1),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=14),
        timedelta(hours=20),
        timedelta(hours=24),
    ),
    max=timedelta(hours=24),
    jitter=Jitter.SLIGHT,
)
WEBHOOK_RETRIES = len(WEBHOOK.schedule)


def backoff_for(wait: Wait, own: Backoff | None) -> Backoff:
    """The backoff of a class, unless the task brought its own."""
    return own or (SLOW if wait is Wait.SLOW else NORMAL)


def exhausted(attempts: int, *, retries: int) -> bool:
    """True when ``attempts`` charged attempts leave no retry."""
    return bool(stop_after_attempt(retries + 1)(_after(attempts)))


def named_wait(outcome: Outcome, now: datetime) -> timedelta | None:
    """The wait that the target asked for, in [1 s, 24 h]; ``None`` where it named none, or its class has no use for it.

    ``Retry-After`` counts before ``retry-after-ms``, and both before the end of a rate limit that is used up.
    """
    response = outcome.response
    if response is None or not outcome.cls.honours_retry_after:
        return None
    if (value := response.header("retry-after")) is not None and (span := retry_after(value, now)) is not None:
        return span
    if (value := response.header("retry-after-ms")) is not None and (number := _number(value)) is not None:
        return _clamped(number / 1000)
    for prefix in _RATE_LIMITS:
        # Many send these with every answer, whether or not the limit was the matter.
        left = _number(response.header(f"{prefix}-remaining") or "0")
        reset = _number(response.header(f"{prefix}-reset") or "")
        if reset is not None and not left:
            return _clamped(_until_reset(reset, now))
    return None


def retry_after(value: str, now: datetime) -> timedelta | None:
    """A Retry-After header (seconds or an HTTP date) as a span in [1 s, 24 h]; ``None`` when it is neither."""
    if (seconds := _number(value)) is not None:
        return _clamped(seconds)
    if not value.isascii():  # a date in the digits of another script is none
        return None
    try:
        instant = parsedate_to_datetime(value[:_MAX_DATE])
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return _clamped(((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - now).total_seconds())


def deferral(asked: timedelta | None, backoff: Backoff, deferrals: int, *, jitter: float) -> timedelta:
    """Wait after the ``deferrals``-th free outcome in a row: what was asked for, or our own backoff if longer."""
    own = backoff.delay(deferrals, jitter=jitter)
    if asked is None:
        return max(own, MIN_RETRY_AFTER)
    longest = max(asked, own, MIN_RETRY_AFTER)
    # Up to a tenth on top, so that a throttled crowd does not come back as one.
    return longest * (1 + RETRY_AFTER_JITTER * jitter)


def _number(text: str) -> float | None:
    """A plain decimal number; ``None`` for anything else."""
    return float(text) if _NUMBER.fullmatch(text := text.strip()) else None


def _clamped(seconds: float) -> timedelta:
    return timedelta(seconds=max(MIN_RETRY_AFTER.total_seconds(), min(seconds, MAX_RETRY_AFTER.total_seconds())))


def _until_reset(reset: float, now: datetime) -> float:
    """Seconds until an instant that is written as such, or in seconds or milliseconds since 1970."""
    if reset <= _EPOCH_SECONDS:
        return reset
    return (reset if reset <= _EPOCH_MILLISECONDS else reset / 1000) - now.timestamp()


# The part of a wait that is sure, and the part that is left to chance.
_SURE_AND_CHANCE: Mapping[Jitter, tuple[float, float]] = {
    Jitter.FULL: (0.0, 1.0),
    Jitter.EQUAL: (0.5, 0.5),
    Jitter.SLIGHT: (0.8, 0.4),
    Jitter.NONE: (1.0, 0.0),
}


def _jittered(whole: float, kind: Jitter, jitter: float) -> float:
    sure, chance = _SURE_AND_CHANCE[kind]
    return whole * (sure + chance * jitter)


@lru_cache(maxsize=1024)
def _waits(backoff: Backoff) -> wait_base:
    initial, longest = backoff.initial.total_seconds(), backoff.max.total_seconds()
    match backoff.type:
        case BackoffType.EXPONENTIAL:
            return wait_exponential(multiplier=initial, exp_base=backoff.factor, max=longest)
        case BackoffType.LINEAR:
            return wait_incrementing(start=initial, increment=initial, max=longest)
        case BackoffType.FIXED:
            return wait_fixed(initial)
        case _:
            return wait_chain(*(wait_fixed(span.total_seconds()) for span in backoff.schedule))


_RETRYING = Retrying()


def _after(attempt: int) -> RetryCallState:
    """Tenacity's view of a call that has failed ``attempt`` times; nothing is called and nobody sleeps."""
    state = RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = max(1, attempt)
    return state
