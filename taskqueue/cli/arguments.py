"""What is typed, read as the service will understand it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taskqueue.cli.failure import fail
from taskqueue.cli.payload import read_json
from taskqueue.client import RawJson
from taskqueue.core.policy import PRESETS

_RULES = '[{"match": ["timeout"], "retries": 2}]'


def options(*those: Callable[..., Any]) -> Callable[..., Any]:
    """Options that stand together, as one decorator; the help shows them in this order."""

    def decorated(command: Any) -> Any:
        for option in reversed(those):
            command = option(command)
        return command

    return decorated


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
