"""Text from strangers, made fit to store and to show."""

from __future__ import annotations

import re

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def clean(text: str, limit: int) -> str:
    """``text`` as any text column takes it: no control characters, no lone surrogates, ``limit`` characters at most."""
    return _UNFIT.sub(" ", text[: 4 * limit])[:limit]
