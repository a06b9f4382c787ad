"""Text from strangers fits any column."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.text import clean


@given(st.text() | st.text(alphabet=st.characters(categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1), st.integers(1, 50))
def test_a_cleaned_text_fits_any_column(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert "\0" not in cleaned
    assert len(cleaned) <= limit
    cleaned.encode()
    assert clean(cleaned, limit) == cleaned


def test_a_text_that_is_fit_stays_as_it_is() -> None:
    assert clean("größer als 5 €", 20) == "größer als 5 €"
    assert clean("two\r\nlines", 20) == "two lines"
