"""What keeps a due task from starting although workers are free: a pause, a cap, a rate, or its host's breaker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from taskqueue.core import breaker as breakers
from taskqueue.core.breaker import Breaker
from taskqueue.core.queue import Bounds, next_token, tokens_now
from taskqueue.core.shown import rfc3339

Hold = Literal[
    "queuePaused",
    "queueConcurrency",
    "queueRate",
    "flowKeyPaused",
    "flowKeyConcurrency",
    "flowKeyRate",
    "breaker",
]


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One limit that lets nothing start now. ``until``: when that may change by itself; ``None``: not by time alone."""

    hold: Hold
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How far the limits of a queue or of a flow key are used up."""

    name: str
    bounds: Bounds
    running: int
    tokens: float | None = None
    tokens_at: datetime | None = None


def by_queue(level: Level, now: datetime) -> Iterator[HeldBack]:
    """What the queue ``level.name`` holds back."""
    named = f"the queue {level.name}"
    if level.bounds.paused:
        command = f"taskqueue queues resume {level.name}"
        yield HeldBack("queuePaused", f"{named} is paused; to let it go on, run: {command}")
    yield from _by_bounds(level, now, named, "queueConcurrency", "queueRate")


def by_flow_key(level: Level, now: datetime) -> Iterator[HeldBack]:
    """What the flow key ``level.name`` holds back."""
    named = f"the flow key {level.name}"
    if level.bounds.paused:
        command = f"taskqueue flow-keys resume {level.name}"
        yield HeldBack("flowKeyPaused", f"{named} is paused; to let it go on, run: {command}")
    yield from _by_bounds(level, now, named, "flowKeyConcurrency", "flowKeyRate")


def by_breaker(breaker: Breaker | None, running: int, now: datetime) -> Iterator[HeldBack]:
    """What the breaker of the task's origin holds back; ``running`` counts as its room does."""
    room = breakers.room(breaker, now) if breaker is not None else None
    if breaker is None or room is None or running < room:
        return
    again = breakers.look_again_at(breaker, now)
    if room:
        detail = f"{breaker.origin} failed lately and is being tried with {_calls(room)} at a time"
    else:
        detail = f"{breaker.origin} fails, so nothing is sent there for now; this uses up no attempt"
    yield HeldBack("breaker", detail, again)


def _by_bounds(level: Level, now: datetime, named: str, concurrency: Hold, rate: Hold) -> Iterator[HeldBack]:
    bounds = level.bounds
    if bounds.concurrency is not None and level.running >= bounds.concurrency:
        yield HeldBack(concurrency, f"{named} runs {level.running} tasks, and {bounds.concurrency} may run at a time")
    if bounds.rate is None:
        return
    held = tokens_now(bounds.rate, level.tokens, level.tokens_at, now)
    if held < 1:
        again = next_token(bounds.rate, held, now)
        pace = f"{bounds.rate.limit} attempts each {bounds.rate.period.total_seconds():g} s"
        detail = f"{named} has used up its rate, {pace}; the next may start at {rfc3339(again)}"
        yield HeldBack(rate, detail, again)


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"
