"""The bounds of a queue, and the bucket of a rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.queue import Rate, next_token, tokens_now

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEN_PER_SECOND = Rate(10, timedelta(seconds=1))
RATES = st.builds(
    Rate,
    st.integers(1, 1_000_000),
    st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=30)),
    st.none() | st.integers(1, 1_000_000),
)


def test_a_bucket_nobody_has_drawn_on_is_full() -> None:
    assert tokens_now(TEN_PER_SECOND, None, None, NOW) == 10
    assert tokens_now(Rate(10, timedelta(seconds=1), burst=3), None, None, NOW) == 3


def test_a_bucket_fills_evenly_and_never_beyond_its_capacity() -> None:
    assert tokens_now(TEN_PER_SECOND, 0.0, NOW - timedelta(milliseconds=500), NOW) == 5
    assert tokens_now(TEN_PER_SECOND, 4.0, NOW - timedelta(hours=1), NOW) == 10
    assert tokens_now(Rate(10, timedelta(seconds=1), burst=20), 4.0, NOW - timedelta(hours=1), NOW) == 20


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    assert tokens_now(TEN_PER_SECOND, 4.0, NOW + timedelta(seconds=1), NOW) == 4


def test_what_was_taken_beyond_the_bucket_is_earned_back_first() -> None:
    assert tokens_now(TEN_PER_SECOND, -5.0, NOW - timedelta(seconds=1), NOW) == 5
    assert next_token(TEN_PER_SECOND, -5.0, NOW) >= NOW + timedelta(milliseconds=600)


def test_a_whole_token_is_there_at_once() -> None:
    assert next_token(TEN_PER_SECOND, 1.0, NOW) == NOW


@given(rate=RATES, tokens=st.floats(-1000, 0.999999))
def test_at_the_next_token_there_is_a_whole_one_and_hardly_earlier(rate: Rate, tokens: float) -> None:
    at = next_token(rate, tokens, NOW)
    assert tokens_now(rate, tokens, NOW, at) >= 1
    # Near the whole one the fractions of a token are lost in the floats; 2 microseconds are what was added.
    assert tokens_now(rate, tokens, NOW, max(NOW, at - timedelta(microseconds=3))) < 1 + 1e-9
