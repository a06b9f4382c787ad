"""How long to wait before the next attempt. Durable: the wait becomes a row with a later ``not_before``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache

from tenacity import RetryCallState, Retrying, wait_chain, wait_exponential, wait_fixed, wait_incrementing
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_base

from taskqueue.core.outcome import Wait

MAX_RETRY_AFTER = timedelta(hours=24)
MIN_RETRY_AFTER = timedelta(seconds=1)
RETRY_AFTER_JITTER = 0.1


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


def retry_after(value: str, now: datetime) -> timedelta | None:
    """A Retry-After header (seconds or an HTTP date) as a span in [1 s, 24 h]; ``None`` when it is neither."""
    text = value.strip()
    if not text.isascii():  # int() would read the digits of other scripts, in a number as in a date
        return None
    if text.isdigit():
        # A huge number would not fit a timedelta.
        seconds = float(text[:12]) if len(text) <= 12 else MAX_RETRY_AFTER.total_seconds()
        span = timedelta(seconds=min(seconds, MAX_RETRY_AFTER.total_seconds()))
    else:
        try:
            instant = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        span = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - now
    return max(MIN_RETRY_AFTER, min(span, MAX_RETRY_AFTER))


def deferral(asked: timedelta | None, backoff: Backoff, deferrals: int, *, jitter: float) -> timedelta:
    """Wait after the ``deferrals``-th free outcome in a row: what was asked for, or our own backoff if longer."""
    own = backoff.delay(deferrals, jitter=jitter)
    if asked is None:
        return max(own, MIN_RETRY_AFTER)
    longest = max(asked, own, MIN_RETRY_AFTER)
    # Up to a tenth on top, so that a throttled crowd does not come back as one.
    return longest * (1 + RETRY_AFTER_JITTER * jitter)


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
