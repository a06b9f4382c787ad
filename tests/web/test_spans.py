"""Spans are seconds or durations, and nothing that only looks like one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.web import spans


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(3, 3), (0.5, 0.5), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("1d12h", 129_600), ("1.5h", 5400), ("0s", 0)],
)
def test_seconds_and_durations_mean_the_same(written: float | str, seconds: float) -> None:
    assert spans.seconds(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "3", "s", "-1s", "1s1m", "1m1m", "1e3s", "٣s", "1s\n", " 1s", "1 s", "1.s", "1y"]
)
def test_other_spellings_are_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match="1m30s"):
        spans.seconds(written)


@given(st.integers(0, 10**10))
def test_a_span_in_words_reads_back_as_itself(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert abs(spans.seconds(spans.in_words(span)) - span.total_seconds()) < 0.0005
