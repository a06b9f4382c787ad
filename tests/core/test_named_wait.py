"""A wait that the target named is told with its header, wherever the task is then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core import named_wait
from taskqueue.core.outcome import Outcome
from tests.core.examples import NOW, an_attempt, answered, cut, decided, queued, running
from tests.core.test_death import clause, told
from tests.core.test_explain import after_settlement, explained

MINUTE = timedelta(minutes=1)
BUSY = answered(429, headers=(("retry-after", "60"),))


@pytest.mark.parametrize(
    ("headers", "header", "wish"),
    [
        ((("retry-after", "60"),), "Retry-After", "asked for 1m by Retry-After"),
        ((("retry-after", "Sun, 01 Mar 2026 12:02:00 GMT"),), "Retry-After", "asked for 2m by Retry-After"),
        ((("retry-after-ms", "1500"),), "Retry-After-Ms", "asked for 1.5s by Retry-After-Ms"),
        ((("x-ratelimit-reset", "90"),), "X-RateLimit-Reset", "asked for 1m30s by X-RateLimit-Reset"),
        (
            (("x-ratelimit-reset", "90"), ("x-ratelimit-remaining", "3"), ("ratelimit-reset", "5")),
            "RateLimit-Reset",
            "asked for 5s by RateLimit-Reset",
        ),
        ((("retry-after", "soon"), ("ratelimit-reset", "5")), "RateLimit-Reset", "asked for 5s by RateLimit-Reset"),
        ((("retry-after", "soon"),), None, None),
        ((), None, None),
    ],
)
def test_the_header_that_counts_is_named(
    headers: tuple[tuple[str, str], ...], header: str | None, wish: str | None
) -> None:
    attempt = an_attempt(answered(429, headers=headers))
    assert (named_wait.header(attempt), named_wait.wish(attempt)) == (header, wish)


@pytest.mark.parametrize("outcome", [answered(500, headers=(("retry-after", "60"),)), cut("timeout")])
def test_a_wait_that_nobody_heeds_or_named_is_none(outcome: Outcome) -> None:
    assert named_wait.wish(an_attempt(outcome)) is None


def test_the_headline_of_a_waiting_task_names_what_the_target_asked_for() -> None:
    waiting = after_settlement(decided(running(), BUSY, jitter=0.0))
    assert explained(waiting)["why"] == (
        "Attempt 1 ended as throttled (429), and the target asked for 1m by Retry-After;"
        " the next one starts at 2026-03-01T12:01:00.000Z, in 1m."
    )


def test_a_task_that_is_due_still_says_what_was_asked_for() -> None:
    due = queued(not_before=NOW, last_attempt=an_attempt(BUSY))
    assert "asked for 1m by Retry-After; the next one starts as soon as a worker is free" in explained(due)["why"]


def test_a_task_that_cannot_wait_so_long_dies_of_what_the_target_asked_for() -> None:
    because = clause(told(running(expires_in=MINUTE / 2), BUSY))
    assert because == "it would have expired first, for the target asked for 1m by Retry-After"


def test_what_was_asked_for_is_no_cause_where_it_would_have_fitted() -> None:
    short = answered(503, headers=(("retry-after", "1"),))
    outcomes = [short] * 3  # the waits of our own double, and are longer
    because = clause(told(running(expires_in=timedelta(seconds=10)), *outcomes))
    assert because == "it would have expired first"
