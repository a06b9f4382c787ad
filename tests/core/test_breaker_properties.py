"""Whatever comes in and whatever the clock does: no crowd reaches a dead host, and a sound one is closed in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.core.breaker import (
    FIRST_SPAN,
    LONGEST_SPAN,
    MOST_PROBES,
    PATIENCE,
    SKEW,
    SPREAD,
    WIDE,
    Breaker,
    BreakerState,
    Mark,
    fresh,
    look_again_at,
    observed,
    room,
    state_at,
)

START = datetime(2030, 1, 1, tzinfo=UTC)
NEW = fresh("default", "https://target.example:443", now=START)

spans = st.floats(min_value=-90, max_value=900).map(lambda seconds: timedelta(seconds=seconds))
reports = st.tuples(
    spans,  # how far the clock moves; now and then it is set back
    st.lists(st.tuples(st.floats(min_value=0, max_value=120), st.booleans()), max_size=25),  # age at its end, failed
    st.floats(min_value=0, max_value=0.999),
)
histories = st.lists(reports, max_size=25)


def played(history: list[tuple[timedelta, list[tuple[float, bool]], float]]) -> list[tuple[datetime, Breaker]]:
    """The breaker after each report, and when."""
    now, breaker, states = START, NEW, []
    for step, calls, jitter in history:
        now += step
        marks = [Mark(now - timedelta(seconds=age), failed) for age, failed in calls]
        breaker = observed(breaker, marks, now=now, jitter=jitter)
        states.append((now, breaker))
    return states


@settings(max_examples=50, deadline=None)
@given(histories)
def test_right_after_opening_there_is_room_for_one_probe_at_most(
    history: list[tuple[timedelta, list[tuple[float, bool]], float]],
) -> None:
    for now, breaker in played(history):
        if breaker.state is BreakerState.OPEN and breaker.open_until is not None:
            assert room(breaker, breaker.changed_at) == 0
            assert room(breaker, breaker.open_until) == 1
            assert room(breaker, breaker.open_until + PATIENCE / 2) == 1
            assert room(breaker, now) in range(MOST_PROBES + 1)


@settings(max_examples=50, deadline=None)
@given(histories)
def test_an_opening_is_neither_shorter_nor_longer_than_its_bounds(
    history: list[tuple[timedelta, list[tuple[float, bool]], float]],
) -> None:
    for _, breaker in played(history):
        if breaker.open_until is not None:
            assert FIRST_SPAN * (1 - SPREAD) <= breaker.open_until - breaker.changed_at <= LONGEST_SPAN


@settings(max_examples=50, deadline=None)
@given(histories, spans)
def test_the_state_at_any_time_has_its_room_and_its_next_look(
    history: list[tuple[timedelta, list[tuple[float, bool]], float]], later: timedelta
) -> None:
    for now, breaker in played(history):
        at = now + later
        allowed, look = room(breaker, at), look_again_at(breaker, at)
        assert (allowed is None) == (state_at(breaker, at) is BreakerState.CLOSED)
        assert allowed is None or 0 <= allowed <= WIDE
        assert look is None or look > at
        if allowed == 0:
            assert look is not None and look - at <= LONGEST_SPAN + SKEW


@settings(max_examples=50, deadline=None)
@given(histories)
def test_the_next_look_finds_more_room(history: list[tuple[timedelta, list[tuple[float, bool]], float]]) -> None:
    for now, breaker in played(history):
        look = look_again_at(breaker, now)
        if look is not None:
            before, then = room(breaker, now), room(breaker, look)
            assert before is not None and then is not None and then > before


@settings(max_examples=50, deadline=None)
@given(histories)
def test_with_a_sound_host_every_history_ends_closed(
    history: list[tuple[timedelta, list[tuple[float, bool]], float]],
) -> None:
    now, breaker = played(history)[-1] if history else (START, NEW)
    for _ in range(int(LONGEST_SPAN.total_seconds()) + 60):  # one call a second, whenever there is room for one
        now += timedelta(seconds=1)
        if room(breaker, now) != 0:
            breaker = observed(
                breaker, [Mark(now, failed=False)] * min(WIDE, room(breaker, now) or 1), now=now, jitter=0
            )
    assert breaker.state is BreakerState.CLOSED
