"""What holds tasks back: the bounds of a queue or a flow key, and the bucket that a rate draws on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_MICROSECOND = timedelta(microseconds=1)


class OnDeath(StrEnum):
    """What becomes of the tasks behind a dead one, when they share an ordering key."""

    SKIP = "skip"  # the next one starts
    BLOCK = "block"  # they wait until the dead one is redriven or given up
    PARK = "park"  # they die with it, each a dead letter that can be redriven


@dataclass(frozen=True, slots=True)
class Rate:
    """``limit`` attempts may start per ``period``, evenly refilled; at most ``burst`` of them at once."""

    limit: int
    period: timedelta
    burst: int | None = None  # None: as many as the limit

    @property
    def capacity(self) -> int:
        """How many tokens are kept for later while nothing starts."""
        return self.limit if self.burst is None else self.burst


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may run of what shares a queue or a flow key; ``None`` sets no limit."""

    concurrency: int | None = None
    rate: Rate | None = None
    paused: bool = False


UNBOUNDED = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue as it was defined, or as it is when nobody has said anything about it."""

    project: str
    name: str
    bounds: Bounds = UNBOUNDED
    on_death: OnDeath = OnDeath.SKIP
    defaults: bytes | None = None  # a JSON object with fields of a submit
    created_at: datetime | None = None  # None: nobody defined it
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowKey:
    """The bounds of a flow key, in whatever queue its tasks wait."""

    project: str
    key: str
    bounds: Bounds = UNBOUNDED
    created_at: datetime | None = None  # None: nobody defined it
    updated_at: datetime | None = None


def tokens_now(rate: Rate, tokens: float | None, tokens_at: datetime | None, now: datetime) -> float:
    """What the bucket holds, when it held ``tokens`` at ``tokens_at``; full when nobody has drawn on it yet.

    One token is one start. Less than none is possible: what was taken beyond what there was is earned back first.
    """
    if tokens is None or tokens_at is None:
        return float(rate.capacity)
    waited = max(timedelta(0), now - tokens_at)  # clocks may step back
    return min(float(rate.capacity), tokens + waited / rate.period * rate.limit)


def next_token(rate: Rate, tokens: float, now: datetime) -> datetime:
    """When a bucket that holds ``tokens`` has a whole one: ``now``, or an instant at which it certainly has."""
    if tokens >= 1:
        return now
    wait = rate.period.total_seconds() * (1 - tokens) / rate.limit
    # Rounded up and one more: a hair too early there would be no whole token, and whoever waits would look in vain.
    return now + (math.ceil(wait / _MICROSECOND.total_seconds()) + 1) * _MICROSECOND
