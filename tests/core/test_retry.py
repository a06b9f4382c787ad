"""Backoff, its jitter, and Retry-After in every form a peer may write it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.outcome import CLASSES, Wait, failed
from taskqueue.core.retry import (
    NORMAL,
    SLOW,
    WEBHOOK,
    WEBHOOK_RETRIES,
    Backoff,
    BackoffType,
    Jitter,
    backoff_for,
    deferral,
    exhausted,
    named_wait,
    retry_after,
)
from tests.core.examples import answered

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DRAWS = 1000


def waits(backoff: Backoff, count: int = 6) -> list[float]:
    """The first whole waits in seconds."""
    return [backoff.delay(attempt, jitter=1.0).total_seconds() for attempt in range(1, count + 1)]


def drawn(backoff: Backoff, attempt: int = 3) -> list[float]:
    """Many draws of one wait, in seconds."""
    dice = random.Random(20260301)
    return [backoff.delay(attempt, jitter=dice.random()).total_seconds() for _ in range(DRAWS)]


def test_the_normal_backoff_doubles_from_two_seconds_to_fifteen_minutes() -> None:
    assert waits(NORMAL, 11) == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_the_slow_backoff_doubles_from_half_a_minute_to_an_hour() -> None:
    assert waits(SLOW, 9) == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_factor_of_ones_own_and_a_cap() -> None:
    backoff = Backoff(initial=SECOND, factor=3, max=20 * SECOND, jitter=Jitter.NONE)
    assert waits(backoff, 4) == [1, 3, 9, 20]


def test_linear_waits_grow_by_the_first() -> None:
    backoff = Backoff(type=BackoffType.LINEAR, initial=5 * SECOND, max=12 * SECOND, jitter=Jitter.NONE)
    assert waits(backoff, 4) == [5, 10, 12, 12]


def test_fixed_waits_stay_the_same_and_keep_to_the_cap() -> None:
    assert waits(Backoff(type=BackoffType.FIXED, initial=7 * SECOND, jitter=Jitter.NONE), 3) == [7, 7, 7]
    assert waits(Backoff(type=BackoffType.FIXED, initial=HOUR, jitter=Jitter.NONE), 1) == [900]


def test_a_schedule_repeats_its_last_wait() -> None:
    schedule = (SECOND, MINUTE, 10 * MINUTE)
    backoff = Backoff(type=BackoffType.SCHEDULE, schedule=schedule, jitter=Jitter.NONE)
    assert waits(backoff, 5) == [1, 60, 600, 600, 600]


def test_an_attempt_beyond_all_numbers_waits_for_the_cap() -> None:
    for kind in (BackoffType.EXPONENTIAL, BackoffType.LINEAR):
        assert Backoff(type=kind).delay(10**9, jitter=1.0) == 15 * MINUTE


def test_a_wait_before_any_failure_is_that_after_the_first() -> None:
    assert NORMAL.delay(0, jitter=1.0) == 2 * SECOND


@pytest.mark.parametrize(
    ("jitter", "least", "most"),
    [(Jitter.FULL, 0.0, 8.0), (Jitter.EQUAL, 4.0, 8.0), (Jitter.SLIGHT, 6.4, 9.6), (Jitter.NONE, 8.0, 8.0)],
)
def test_a_thousand_draws_fill_the_whole_span_evenly(jitter: Jitter, least: float, most: float) -> None:
    draws = drawn(Backoff(jitter=jitter))
    width = most - least
    assert least <= min(draws) <= least + 0.02 * width
    assert most - 0.02 * width <= max(draws) <= most
    assert mean(draws) == pytest.approx((least + most) / 2, abs=0.05 * width)
    # Even: the spread of a uniform draw is its width over the root of twelve, and each tenth gets its share.
    assert pstdev(draws) == pytest.approx(width / 12**0.5, abs=0.02 * width)
    if width:
        tenths = [int((draw - least) / width * 10) for draw in draws]
        assert all(60 <= tenths.count(tenth) <= 140 for tenth in range(10))


def test_the_ends_of_the_jitter_are_the_ends_of_the_span() -> None:
    spans = {Jitter.FULL: (0, 2), Jitter.EQUAL: (1, 2), Jitter.SLIGHT: (1.6, 2.4), Jitter.NONE: (2, 2)}
    for jitter, (least, most) in spans.items():
        backoff = Backoff(jitter=jitter)
        assert backoff.delay(1, jitter=0.0) == least * SECOND
        assert backoff.delay(1, jitter=1.0) == most * SECOND


def test_the_webhook_schedule_is_the_documents() -> None:
    whole = [WEBHOOK.delay(attempt, jitter=0.5) for attempt in range(1, WEBHOOK_RETRIES + 2)]
    hours = [2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]
    assert whole == [5 * SECOND, MINUTE, 5 * MINUTE, 30 * MINUTE, *hours, 24 * HOUR]
    assert WEBHOOK_RETRIES == 10


def test_a_webhooks_wait_is_a_fifth_off_at_most() -> None:
    for attempt, whole in enumerate(WEBHOOK.schedule, start=1):
        assert WEBHOOK.delay(attempt, jitter=0.0) == pytest.approx(0.8 * whole, abs=SECOND / 1000)
        assert WEBHOOK.delay(attempt, jitter=1.0) == pytest.approx(1.2 * whole, abs=SECOND / 1000)


def test_a_tasks_own_backoff_replaces_that_of_every_class() -> None:
    own = Backoff(type=BackoffType.FIXED, initial=SECOND)
    assert {backoff_for(wait, own) for wait in Wait} == {own}
    assert (backoff_for(Wait.NORMAL, None), backoff_for(Wait.SLOW, None)) == (NORMAL, SLOW)


def test_retries_are_exhausted_after_one_attempt_more_than_there_are_retries() -> None:
    assert [exhausted(attempts, retries=3) for attempts in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert exhausted(1, retries=0)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("120", 120 * SECOND),
        (" 120\t", 120 * SECOND),
        ("007", 7 * SECOND),
        ("1.5", 1.5 * SECOND),
        ("90.250", 90.25 * SECOND),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 2 * MINUTE),  # RFC 9110's own form
        ("Sunday, 01-Mar-26 12:02:00 GMT", 2 * MINUTE),  # RFC 850
        ("Sun Mar  1 12:02:00 2026", 2 * MINUTE),  # asctime
        ("Sun, 01 Mar 2026 12:02:00 -0000", 2 * MINUTE),
        ("Sun, 01 Mar 2026 13:02:00 +0100", 2 * MINUTE),
    ],
)
def test_seconds_and_the_three_forms_of_a_date_are_read(text: str, span: timedelta) -> None:
    assert retry_after(text, NOW) == span


@pytest.mark.parametrize("text", ["0", "1", "0.2", "Sun, 01 Mar 2026 11:59:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_what_is_past_or_now_waits_a_second(text: str) -> None:
    assert retry_after(text, NOW) == SECOND


@pytest.mark.parametrize(
    "text",
    [
        *("86401", "31536000", "999999999999", "1" * 13, "9" * 5000, "86400.5", "9" * 400 + ".5"),
        *("Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"),
    ],
)
def test_a_year_is_cut_to_a_day(text: str) -> None:
    assert retry_after(text, NOW) == DAY


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "soon",
            "-5",
            "+5",
            "1.5.0",
            ".5",
            "5.",
            "1e3",
            "0x10",
            "5, 7",
            "5 seconds",
            "12 03",
            "\x00",
            "a" * 9999,
        ),
        *("١٢٠", "１２０", "²", "Sun, 01 Mar 2026 1٢:02:00 GMT", "Sun, ０1 Mar 2026 12:02:00 GMT"),
        *("2026-03-01T12:02:00Z", "Sun, 01 Mar", "Sun, 01 Mar 2026 25:02:00 GMT", "Sun, 32 Mar 2026 12:02:00 GMT"),
        *("Sun, 01 Mar 99999999 12:02:00 GMT", "Sun, 01 Mar 2026 12:02:00 +9999999"),
    ],
)
def test_what_is_neither_number_nor_date_is_no_retry_after(text: str) -> None:
    assert retry_after(text, NOW) is None


@given(st.text() | st.from_regex(r"[A-Za-z]{3}, [0-9]{1,3} [A-Za-z]{3} [0-9]{1,6} [0-9:]{1,9} [+A-Z0-9-]{0,6}"))
def test_no_text_breaks_the_reading_of_retry_after(text: str) -> None:
    span = retry_after(text, NOW)
    assert span is None or SECOND <= span <= DAY


NAMED = {
    "seconds": ({"retry-after": "7"}, 7.0),
    "a fraction": ({"retry-after": "2.5"}, 2.5),
    "milliseconds": ({"retry-after-ms": "2500"}, 2.5),
    "Retry-After first": ({"retry-after": "7", "retry-after-ms": "2500", "x-ratelimit-reset": "60"}, 7.0),
    "the next where one cannot be read": ({"retry-after": "soon", "retry-after-ms": "2500"}, 2.5),
    "the last where none can be read": ({"retry-after": "", "retry-after-ms": "-1", "x-ratelimit-reset": "60"}, 60.0),
    "an end in seconds": ({"x-ratelimit-reset": "60"}, 60.0),
    "an end as an instant": ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 90)}, 90.0),
    "an end as an instant in milliseconds": ({"x-ratelimit-reset": str(int(NOW.timestamp()) * 1000 + 90_500)}, 90.5),
    "the standard's name": ({"ratelimit-reset": "60"}, 60.0),
    "the older name first": ({"ratelimit-reset": "60", "x-ratelimit-reset": "30"}, 30.0),
    "a limit that is used up": ({"x-ratelimit-reset": "60", "x-ratelimit-remaining": "0"}, 60.0),
    "a limit that is not used up": ({"x-ratelimit-reset": "60", "x-ratelimit-remaining": "4"}, None),
    "nor the standard's": ({"ratelimit-reset": "60", "ratelimit-remaining": "4"}, None),
    "a remainder that cannot be read": ({"x-ratelimit-reset": "60", "x-ratelimit-remaining": "few"}, 60.0),
    "an end that is past": ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 90)}, 1.0),
    "an end in a year": ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 31_536_000)}, 86400.0),
    "milliseconds of years": ({"retry-after-ms": "9" * 300}, 86400.0),
    "nothing": ({"x-ratelimit-limit": "100"}, None),
    "nothing that can be read": ({"retry-after": "soon", "retry-after-ms": "?", "ratelimit-reset": "later"}, None),
}


@pytest.mark.parametrize(("headers", "seconds"), NAMED.values(), ids=NAMED.keys())
def test_the_wait_that_a_target_names_in_any_of_its_ways(headers: dict[str, str], seconds: float | None) -> None:
    outcome = answered(429, headers=tuple(headers.items()))
    span = named_wait(outcome, NOW)
    assert (span and span.total_seconds()) == seconds


def test_a_wait_is_named_only_where_the_class_has_a_use_for_it() -> None:
    headers = (("retry-after", "7"),)
    assert {name for name, row in CLASSES.items() if row.honours_retry_after} == {
        *("conflict", "throttled", "bad_gateway", "unavailable", "verdict_retry", "verdict_defer")
    }
    for status in (409, 429, 502, 503):
        assert named_wait(answered(status, headers=headers), NOW) == 7 * SECOND
    for status in (200, 400, 500, 504):
        assert named_wait(answered(status, headers=headers), NOW) is None
    assert named_wait(failed("throttled", "X", "no answer"), NOW) is None


WORDS = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining", "ratelimit-reset"]
)


@given(st.dictionaries(WORDS, st.text() | st.from_regex(r"[0-9]{1,30}(\.[0-9]{1,9})?", fullmatch=True)))
def test_no_header_makes_a_wait_of_none_or_of_years(headers: dict[str, str]) -> None:
    span = named_wait(answered(429, headers=tuple(headers.items())), NOW)
    assert span is None or SECOND <= span <= DAY


def test_a_deferral_waits_for_what_was_asked_and_a_tenth_more_at_most() -> None:
    assert deferral(MINUTE, NORMAL, 1, jitter=0.0) == MINUTE
    assert deferral(MINUTE, NORMAL, 1, jitter=1.0) == 66 * SECOND


def test_a_deferral_that_goes_on_waits_for_its_own_backoff_if_that_is_longer() -> None:
    assert deferral(SECOND, NORMAL, 6, jitter=1.0) == pytest.approx(64 * 1.1 * SECOND, abs=SECOND / 1000)
    assert deferral(None, NORMAL, 6, jitter=1.0) == 64 * SECOND


def test_a_deferral_is_never_shorter_than_a_second() -> None:
    assert deferral(None, NORMAL, 1, jitter=0.0) == SECOND
    assert deferral(SECOND / 10, NORMAL, 1, jitter=0.0) == SECOND


def test_deferrals_grow_while_nothing_else_happens() -> None:
    grown = [deferral(None, NORMAL, count, jitter=1.0) for count in range(1, 12)]
    assert all(earlier <= later for earlier, later in pairwise(grown))
    assert grown[-1] == 15 * MINUTE
