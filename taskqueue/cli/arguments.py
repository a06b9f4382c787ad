"""What is typed, read as the service will understand it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from taskqueue.cli.failure import fail
from taskqueue.cli.payload import read_json
from taskqueue.client import RawJson

_WORD = re.compile(r"[a-z][a-z-]*")


def read_span(text: str) -> float | str:
    """Seconds where ``text`` is a number; else the text itself, for the service to read as a duration."""
    try:
        return float(text)
    except ValueError:
        return text


def read_headers(texts: Sequence[str]) -> dict[str, str]:
    """Headers from ``NAME:VALUE``, each at most once."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = (part.strip() for part in text.partition(":"))
        if not colon:
            fail(f"--header is NAME:VALUE; there is no colon in {text!r}")
        if name.lower() in map(str.lower, found):
            fail(f"--header {name} is given twice; a header is sent once")
        found[name] = value
    return found


def read_retry_policy(text: str) -> str | RawJson:
    """The name of a preset as it is, or rules as JSON."""
    return text if _WORD.fullmatch(text) else read_json(text, "--retry-policy")
