"""Spans of time as callers write them: seconds, or a duration such as ``1m30s``."""

from __future__ import annotations

import re
from datetime import timedelta

PATTERN = r"^([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?$"  # as documented; what is read is stricter

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(rf"(?=[0-9])(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def seconds(value: float | str) -> float:
    """The seconds that ``value`` means; ValueError says what would be accepted."""
    if not isinstance(value, str):
        return value
    parts = _DURATION.fullmatch(value)
    if parts is None:
        raise ValueError('write seconds as a number, or a duration such as "1m30s", "500ms" or "2h"')
    return sum(float(part) * unit for part, unit in zip(parts.groups(), _UNITS, strict=True) if part)


def in_words(span: timedelta) -> str:
    """``span`` as a duration string, for messages: ``1m30s``."""
    rest, words = round(span / timedelta(milliseconds=1)), ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, length)
        words += f"{count}{unit}" if count else ""
    return words or "0s"
