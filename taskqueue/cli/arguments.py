"""What is typed, read as the service will understand it."""

from __future__ import annotations

from collections.abc import Sequence

from taskqueue.cli.failure import fail
from taskqueue.cli.payload import read_json
from taskqueue.client import RawJson
from taskqueue.core.policy import PRESETS

_RULES = '[{"match": ["timeout"], "retries": 2}]'


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
    if text == "-" or text.lstrip()[:1] in ("[", "{", '"'):
        return read_json(text, "--retry-policy")
    if text not in PRESETS:
        fail(
            f"--retry-policy is one of {', '.join(PRESETS)}, or rules as JSON: '{_RULES}'; there is no preset {text!r}"
        )
    return text
