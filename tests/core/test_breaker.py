"""The breaker: what opens it, how it finds out that the host is back, and how it closes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.core.breaker import (
    FAILURES,
    FIRST_SPAN,
    LONGEST_SPAN,
    MOST_PROBES,
    PATIENCE,
    SKEW,
    SOUND_AFTER,
    SPREAD,
    WIDE,
    WINDOW,
    WINDOW_CALLS,
    Breaker,
    BreakerState,
    Mark,
    closed,
    counted_from,
    fresh,
    listens,
    look_again_at,
    observed,
    room,
    sign_of,
    state_at,
)
from taskqueue.core.outcome import CLASSES, Outcome, Response, Sign, failed

START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NEW = fresh("default", "https://target.example:443", now=START)


def after(
    breaker: Breaker, at: datetime, *, failures: int = 0, sound: int = 0, started_at: datetime | None = None
) -> Breaker:
    """The breaker once so many calls are over; without jitter, so that spans are whole."""
    marks = [Mark(started_at or at, failed=True)] * failures + [Mark(started_at or at, failed=False)] * sound
    return observed(breaker, marks, now=at, jitter=0.0)


OPEN = after(NEW, START, failures=FAILURES)
BACK = START + FIRST_SPAN  # when it may be probed
SLOW = after(OPEN, BACK, sound=1)


# What opens it.


def test_ten_failures_of_ten_calls_open_it_for_five_seconds() -> None:
    assert OPEN.state is BreakerState.OPEN
    assert OPEN.open_until == START + timedelta(seconds=5)
    assert (OPEN.trips, OPEN.failures, OPEN.calls) == (1, FAILURES, FAILURES)


def test_nine_failures_in_a_row_do_not() -> None:
    assert after(NEW, START, failures=FAILURES - 1).state is BreakerState.CLOSED


def test_failures_that_are_less_than_half_of_the_calls_do_not() -> None:
    flaky = after(NEW, START, sound=FAILURES + 1)
    assert after(flaky, START + SECOND, failures=FAILURES).state is BreakerState.CLOSED
    assert after(flaky, START + SECOND, failures=FAILURES + 1).state is BreakerState.OPEN


def test_a_sign_of_life_never_opens_it() -> None:
    breaker = after(NEW, START, failures=FAILURES - 1)
    assert after(breaker, START, sound=1).state is BreakerState.CLOSED


def test_failures_of_the_window_before_count_with_those_of_this_one() -> None:
    breaker = after(NEW, START, failures=FAILURES - 1)
    assert after(breaker, START + WINDOW, failures=1).state is BreakerState.OPEN


def test_four_failures_a_minute_are_left_to_the_backoff_of_their_tasks() -> None:
    breaker, now = NEW, START
    for _ in range(100):
        now += timedelta(seconds=15)
        breaker = after(breaker, now, failures=1)
    assert breaker.state is BreakerState.CLOSED


def test_calls_that_time_out_after_half_a_minute_three_at_a_time_open_it() -> None:
    breaker, now = NEW, START
    for _ in range(5):
        now += timedelta(seconds=30)
        breaker = after(breaker, now, failures=3, started_at=now - timedelta(seconds=30))
    assert breaker.state is BreakerState.OPEN


def test_a_hundred_calls_that_time_out_together_open_it_though_they_all_started_before() -> None:
    long_ago = START - timedelta(minutes=10)
    assert after(NEW, START, failures=100, started_at=long_ago).state is BreakerState.OPEN


def test_failures_of_long_ago_are_forgotten() -> None:
    breaker = after(NEW, START, failures=FAILURES - 1)
    assert after(breaker, START + 2 * WINDOW, failures=1).failures == 1


def test_a_busy_host_that_dies_is_noticed_within_two_windows_of_calls() -> None:
    breaker = NEW
    for second in range(60):
        breaker = after(breaker, START + second * SECOND, sound=1000)
    dying, burnt = breaker, 0
    while dying.state is BreakerState.CLOSED:
        burnt += 10
        dying = after(dying, START + 60 * SECOND, failures=10)
    assert burnt <= 2 * WINDOW_CALLS


# While it is open.


def test_while_it_is_open_there_is_room_for_nothing_until_its_time_has_passed() -> None:
    assert room(OPEN, START) == 0
    assert look_again_at(OPEN, START) == OPEN.open_until == BACK
    assert state_at(OPEN, BACK - SECOND) is BreakerState.OPEN
    assert state_at(OPEN, BACK) is BreakerState.PROBING
    assert room(OPEN, BACK) == 1


def test_whatever_comes_back_while_it_is_open_changes_nothing() -> None:
    assert after(OPEN, START + SECOND, failures=90, sound=10) is OPEN


def test_calls_from_before_are_no_probes_however_late_they_come_back() -> None:
    stale = START - timedelta(seconds=30)
    assert after(OPEN, BACK + SECOND, failures=90, sound=10, started_at=stale) is OPEN
    assert after(SLOW, BACK + SECOND, failures=90, started_at=stale) is SLOW
    assert counted_from(OPEN, BACK) == BACK


def test_jitter_takes_a_quarter_off_the_span_at_most() -> None:
    opened = observed(NEW, [Mark(START, True)] * FAILURES, now=START, jitter=1.0)
    assert opened.open_until == START + FIRST_SPAN * (1 - SPREAD)


# Probing.


def test_a_probe_that_succeeds_lets_two_calls_in() -> None:
    assert (SLOW.state, SLOW.open_until) == (BreakerState.SLOW, None)
    assert room(SLOW, BACK) == 2


def test_a_probe_that_fails_opens_it_again_for_twice_as_long() -> None:
    again = after(OPEN, BACK, failures=1)
    assert (again.state, again.trips, again.failures, again.calls) == (BreakerState.OPEN, 2, 1, 1)
    assert again.open_until == BACK + 2 * FIRST_SPAN


def test_the_span_doubles_up_to_five_minutes() -> None:
    breaker, spans = OPEN, []
    for _ in range(40):
        assert breaker.open_until is not None
        spans.append((breaker.open_until - breaker.changed_at).total_seconds())
        breaker = after(breaker, breaker.open_until, failures=1)
    assert spans[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert set(spans[8:]) == {300}


def test_a_probe_that_takes_its_time_lets_another_start_each_minute_up_to_five() -> None:
    assert room(OPEN, BACK + PATIENCE - SECOND) == 1
    assert look_again_at(OPEN, BACK + SECOND) == BACK + PATIENCE
    assert room(OPEN, BACK + PATIENCE) == 2
    assert room(OPEN, BACK + timedelta(hours=12)) == MOST_PROBES
    assert look_again_at(OPEN, BACK + timedelta(hours=12)) is None


def test_a_probe_of_which_nothing_is_ever_heard_changes_nothing() -> None:
    assert observed(OPEN, [], now=BACK + SECOND, jitter=0.5) is OPEN


# Slow start.


def test_what_is_allowed_grows_by_each_sound_call_but_at_most_doubles_each_second() -> None:
    breaker = after(SLOW, BACK, sound=2)
    assert [room(breaker, BACK + second * SECOND) for second in range(3)] == [2, 4, 4]
    assert look_again_at(breaker, BACK) == BACK + SECOND
    assert look_again_at(breaker, BACK + SECOND) is None
    breaker = after(breaker, BACK, sound=1000)
    assert [room(breaker, BACK + second * SECOND) for second in range(7)] == [2, 4, 8, 16, 32, 64, 64]


def test_it_closes_after_sixty_four_sound_calls_and_five_seconds() -> None:
    assert after(SLOW, BACK + SECOND, sound=1000).state is BreakerState.SLOW
    done = after(SLOW, BACK + 5 * SECOND, sound=WIDE - 1)
    assert (done.state, done.failures, done.calls) == (BreakerState.CLOSED, 0, 0)
    assert room(done, BACK + 5 * SECOND) is None
    assert look_again_at(done, BACK + 5 * SECOND) is None


def test_a_host_with_few_or_long_calls_is_sound_after_five_minutes() -> None:
    assert after(SLOW, BACK + SOUND_AFTER - SECOND, sound=1).state is BreakerState.SLOW
    assert after(SLOW, BACK + SOUND_AFTER, sound=1).state is BreakerState.CLOSED


def test_as_many_failures_as_sound_calls_open_it_again() -> None:
    flaky = after(SLOW, BACK, sound=3)
    assert room(after(flaky, BACK + 9 * SECOND, failures=2), BACK + 9 * SECOND) == 3
    again = after(flaky, BACK + SECOND, failures=4)
    assert (again.state, again.trips) == (BreakerState.OPEN, 2)


def test_a_host_that_fails_now_and_then_gets_through_slow_start() -> None:
    breaker = SLOW
    for second in range(30):
        breaker = after(breaker, BACK + second * SECOND, sound=4, failures=1)
    assert breaker.state is BreakerState.CLOSED


# Once it is closed again.

DONE = after(SLOW, BACK + 5 * SECOND, sound=WIDE)


def test_one_that_opens_soon_after_it_closed_stays_open_for_longer() -> None:
    soon, later = DONE.changed_at + SECOND, DONE.changed_at + SOUND_AFTER
    assert after(DONE, soon, failures=FAILURES).trips == 2
    assert after(DONE, later, failures=FAILURES).trips == 1


def test_one_that_was_closed_by_hand_is_not_opened_by_calls_that_were_under_way() -> None:
    by_hand = closed(OPEN, now=START + SECOND)
    assert (by_hand.state, by_hand.open_until, by_hand.trips) == (BreakerState.CLOSED, None, 1)
    assert after(by_hand, START + 30 * SECOND, failures=100, started_at=START) is by_hand
    assert after(by_hand, START + 30 * SECOND, failures=100).state is BreakerState.OPEN


def test_closing_what_never_opened_forgets_its_failures_and_what_is_under_way() -> None:
    by_hand = closed(after(NEW, START, failures=5), now=START + SECOND)
    assert after(by_hand, START + 2 * SECOND, failures=100, started_at=START) is by_hand


def test_signs_of_life_matter_while_it_is_not_closed_or_failed_lately() -> None:
    assert listens(OPEN, BACK)
    assert listens(SLOW, BACK)
    assert not listens(NEW, START)
    failing = after(NEW, START, failures=1)
    assert listens(failing, START + WINDOW)
    assert not listens(failing, START + 2 * WINDOW)


# Clocks that are set.


def test_a_clock_that_is_set_back_keeps_nothing_open_for_longer_than_the_longest_span() -> None:
    past = START - timedelta(hours=1)
    assert state_at(OPEN, past) is BreakerState.PROBING
    assert room(OPEN, past) == 1
    assert state_at(OPEN, BACK - LONGEST_SPAN) is BreakerState.OPEN
    assert after(OPEN, past, sound=1).state is BreakerState.SLOW


def test_a_clock_that_is_set_back_does_not_hold_up_slow_start() -> None:
    past = START - timedelta(hours=1)
    assert room(after(SLOW, BACK, sound=99), past) == WIDE
    assert after(SLOW, past, sound=1).state is BreakerState.CLOSED


def test_a_clock_that_is_set_back_empties_the_windows() -> None:
    breaker = after(NEW, START, failures=FAILURES - 1)
    assert after(breaker, START - timedelta(hours=1), failures=1).failures == 1


def test_a_report_whose_clock_is_a_little_behind_counts_like_any_other() -> None:
    behind = SECOND
    breaker = after(NEW, START, failures=FAILURES - 1)
    assert after(breaker, START - behind, failures=1).state is BreakerState.OPEN
    assert state_at(OPEN, START - behind) is BreakerState.OPEN
    assert after(SLOW, BACK - behind, sound=1).state is BreakerState.SLOW
    assert after(SLOW, BACK - behind, failures=9, started_at=START) is SLOW
    longest = replace(OPEN, open_until=START + LONGEST_SPAN)
    assert state_at(longest, START - SKEW) is BreakerState.OPEN


def test_a_clock_that_leaps_ahead_only_probes_early() -> None:
    assert state_at(OPEN, START + timedelta(days=1)) is BreakerState.PROBING


# What an outcome says of its host.

FAILING = {
    *("dns_failure", "connect_refused", "connect_unreachable", "connect_timeout", "tls_timeout"),
    *("send_aborted", "no_response", "timeout"),
    *("server_error", "bad_gateway", "unavailable", "gateway_timeout"),
}


def answered(name: str, status: int = 200) -> Outcome:
    return Outcome(cls=CLASSES[name], response=Response(status=status))


def test_exactly_the_marked_classes_are_failures() -> None:
    assert {name for name in CLASSES if failed(name, "", "").sign is Sign.FAILURE} == FAILING
    assert {name for name in CLASSES if answered(name).sign is Sign.FAILURE} == FAILING


@pytest.mark.parametrize(
    "outcome",
    [
        answered("success"),
        answered("throttled", 429),
        answered("not_found", 404),
        answered("redirect", 302),
        answered("truncated_response"),
        answered("function_error"),
        answered("service_error", 500),
    ],
)
def test_an_answer_is_a_sign_of_life_whatever_it_says(outcome: Outcome) -> None:
    assert outcome.sign is Sign.LIFE


@pytest.mark.parametrize(
    "name",
    [
        *("worker_lost", "interrupted", "released", "cancelled", "local_resource"),
        *("target_forbidden", "dns_not_found", "tls_certificate", "tls_handshake", "protocol_error"),
    ],
)
def test_what_got_no_answer_and_is_not_marked_says_nothing(name: str) -> None:
    assert failed(name, "", "").sign is Sign.NOTHING


def test_a_verdict_on_a_sound_answer_leaves_it_a_sign_of_life() -> None:
    called = answered("success")
    for name in ("verdict_retry", "verdict_fail", "verdict_defer"):
        assert sign_of(called, judged=replace(called, cls=CLASSES[name])) is Sign.LIFE


def test_a_verdict_on_a_failure_says_nothing_unless_it_calls_it_a_success() -> None:
    called = answered("server_error", 500)
    assert sign_of(called, judged=called) is Sign.FAILURE
    assert sign_of(called, judged=replace(called, cls=CLASSES["verdict_defer"])) is Sign.NOTHING
    assert sign_of(called, judged=replace(called, cls=CLASSES["success"])) is Sign.LIFE
