"""What holds a due task back, in words and with the time at which that may change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.core.breaker import BreakerState, fresh
from taskqueue.core.held_back import Level, by_breaker, by_flow_key, by_queue
from taskqueue.core.queue import Bounds, Rate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = Rate(2, timedelta(seconds=10))
SOUND = fresh("default", "https://a.example", now=NOW - timedelta(minutes=1))
OPEN = replace(SOUND, state=BreakerState.OPEN, trips=1, open_until=NOW + timedelta(seconds=4))
PROBING = replace(OPEN, open_until=NOW - timedelta(seconds=1))


def level(bounds: Bounds, *, running: int = 0, tokens: float | None = None) -> Level:
    return Level(name="mail", bounds=bounds, running=running, tokens=tokens, tokens_at=NOW)


@pytest.mark.parametrize("by", [by_queue, by_flow_key])
def test_what_has_room_holds_nothing_back(by: object) -> None:
    assert callable(by)
    assert list(by(level(Bounds()), NOW)) == []
    assert list(by(level(Bounds(concurrency=2, rate=RATE), running=1, tokens=1.0), NOW)) == []


def test_a_paused_queue_says_how_it_goes_on() -> None:
    (held,) = by_queue(level(Bounds(paused=True)), NOW)
    assert held.hold == "queuePaused"
    assert "taskqueue queues resume mail" in held.detail
    assert held.until is None


def test_a_paused_flow_key_says_how_it_goes_on() -> None:
    (held,) = by_flow_key(level(Bounds(paused=True)), NOW)
    assert (held.hold, held.until) == ("flowKeyPaused", None)
    assert "taskqueue flow-keys resume mail" in held.detail


def test_a_full_queue_names_both_figures() -> None:
    (held,) = by_queue(level(Bounds(concurrency=3), running=3), NOW)
    assert held.hold == "queueConcurrency"
    assert held.detail == "the queue mail runs 3 tasks, and 3 may run at a time"


def test_an_empty_bucket_says_when_the_next_may_start() -> None:
    (held,) = by_flow_key(level(Bounds(rate=RATE), tokens=0.5), NOW)
    assert held.hold == "flowKeyRate"
    assert held.until is not None
    assert timedelta(seconds=2.5) <= held.until - NOW < timedelta(seconds=2.6)
    assert "2 attempts each 10 s" in held.detail


def test_no_breaker_and_a_closed_one_hold_nothing_back() -> None:
    assert list(by_breaker(None, 0, NOW)) == []
    assert list(by_breaker(SOUND, 100, NOW)) == []


def test_an_open_breaker_holds_everything_back_until_it_is_tried_again() -> None:
    (held,) = by_breaker(OPEN, 0, NOW)
    assert (held.hold, held.until) == ("breaker", OPEN.open_until)
    assert "uses up no attempt" in held.detail


def test_while_a_host_is_tried_all_but_the_probes_wait() -> None:
    assert list(by_breaker(PROBING, 0, NOW)) == []
    (held,) = by_breaker(PROBING, 1, NOW)
    assert "one call at a time" in held.detail
    later = NOW + timedelta(seconds=61)
    (held,) = by_breaker(PROBING, 2, later)
    assert "2 calls at a time" in held.detail
