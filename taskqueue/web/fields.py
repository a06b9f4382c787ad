"""Bounds and descriptions of request fields, said once: reading enforces them and the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from msgspec import Meta

from taskqueue.web import spans

PYTHON_END = r"(?!\n)"  # Python's $ also matches before a last line feed
_END = r"$" + PYTHON_END
_NO_CONTROLS = r"^[^\u0000-\u001f\u007f]"

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
QUEUE_NAME = "a name of 1 to 64 letters, digits, dots, hyphens and underscores that starts with a letter or digit"
VISIBLE_ASCII = r"^[\u0021-\u007e]{1,256}"
VISIBLE_KEY = "1 to 256 visible ASCII characters"


def about(description: str, **bounds: Any) -> Meta:
    """A field with the bounds that msgspec knows."""
    return Meta(description=description, **bounds)


def matching(pattern: str, expected: str, description: str) -> Meta:
    """A text of a certain form; ``expected`` says which, for the message. The pattern must hold to the very end."""
    return Meta(description=description, pattern=pattern + _END, extra={"expected": expected})


def one_of(choices: Iterable[str], description: str, *, hint: str = "") -> Meta:
    """One of a long list of texts; the ``hint`` ends the message that names them all."""
    named = list(choices)
    return Meta(description=description, extra={"choices": named, "hint": hint}, extra_json_schema={"enum": named})


def checked(check: Callable[[str, str], None], description: str) -> Meta:
    """A text that ``check`` is called with, and its pointer; it raises ``InvalidTask`` for one that cannot be meant."""
    return Meta(description=description, extra={"check": check})


def plain_text(longest: int, description: str) -> Meta:
    """A text of 1 to ``longest`` characters, none of them a control character."""
    pattern = f"{_NO_CONTROLS}{{1,{longest}}}"
    return matching(pattern, f"1 to {longest} characters without control characters", description)


def queue_name(description: str, *, hint: str = "") -> Meta:
    return matching(NAME, QUEUE_NAME + hint, description)


def id_of(thing: str, description: str) -> Meta:
    """The id of a ``thing``."""
    return Meta(description=description, extra={"expected": f"a {thing} id (a UUID)"})


def visible(description: str) -> Meta:
    """A key: it may stand in a header or, escaped, in a path."""
    return matching(VISIBLE_ASCII, VISIBLE_KEY, description)


def span(least: float, most: float, description: str, *, default: timedelta | None = None) -> Meta:
    """A length of time from ``least`` to ``most`` seconds."""
    schema: dict[str, Any] = {
        "minimum": least,
        "maximum": most,
        "pattern": spans.PATTERN,
    }
    if default is not None:
        schema["default"] = default.total_seconds()
    return Meta(
        description=f"{description}. Seconds, or a duration such as `1m30s`, `500ms` or `2h`",
        extra={"least": least, "most": most},
        extra_json_schema=schema,
    )


def raw(description: str, **schema: Any) -> Meta:
    """A value that is taken as it stands."""
    return Meta(description=description, extra_json_schema=schema)
