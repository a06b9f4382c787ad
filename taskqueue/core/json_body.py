"""JSON that a target answered, and a path into it. Neither may cost more than its length."""

from __future__ import annotations

import json
import re
from enum import Enum
from functools import lru_cache
from typing import Final, NoReturn

MAX_PATH = 200  # characters
MAX_STEPS = 20
Path = tuple[str | int, ...]

_STEP = re.compile(
    r"""
      \.(?P<name>[^\W\d][\w-]*)
    | \['(?P<quoted>(?:[^'\\]|\\['\\])*)'\]
    | \[(?P<index>0|-?[1-9][0-9]{0,8})\]
    """,
    re.VERBOSE,
)
_BLANKS = re.compile(r"[ \t\n\r]*")
_ESCAPE = re.compile(r"\\(.)")


class NotJson(ValueError):
    """The bytes are no JSON text, or one that nobody would write: nested a thousand deep, numbers of any length."""


class Missing(Enum):
    """What a path leads to where nothing is."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def read_json(body: bytes) -> object:
    """The value that ``body`` writes, in UTF-8 and without NaN; raises ``NotJson``."""
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NotJson(type(error).__name__) from None


def member(body: bytes, name: str) -> bytes | None:
    """The value of ``name`` in the object that ``body`` writes, as it stands there; ``None`` if it has none.

    Only of a body that ``read_json`` has read. Of a name that comes twice the last counts, as it does there.
    """
    text = body.decode("utf-8-sig")
    found, at = None, _past_blanks(text, 0) + 1
    while text[at := _past_blanks(text, at)] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _past_blanks(text, _past_blanks(text, at) + 1)  # behind the colon
        _, at = _DECODER.raw_decode(text, start)
        if key == name:
            found = text[start:at]
        if text[at := _past_blanks(text, at)] == ",":
            at += 1
    return None if found is None else found.encode()


def _past_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks is not None, "no blank at all is a match as well"
    return blanks.end()


@lru_cache(maxsize=1024)
def parse_path(text: str) -> Path:
    """``$.name['name'][0][-1]`` as its steps; ``ValueError`` says what is wrong with it."""
    if len(text) > MAX_PATH:
        raise ValueError(f"a path has at most {MAX_PATH} characters")
    if not text.startswith("$"):
        raise ValueError("a path begins with $, such as $.error.code")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise ValueError("a path is made of .name, ['name'], [0] and [-1]; there are no wildcards and no filters")
        steps.append(_step(step))
        at = step.end()
    if len(steps) > MAX_STEPS:
        raise ValueError(f"a path has at most {MAX_STEPS} steps")
    return tuple(steps)


def find(value: object, path: Path) -> object:
    """What ``path`` leads to, or ``MISSING``; a name is looked up in objects alone, an index in arrays alone."""
    for step in path:
        value = _into(value, step)
    return value


def _into(value: object, step: str | int) -> object:
    if isinstance(step, str):
        return value.get(step, MISSING) if isinstance(value, dict) else MISSING
    return value[step] if isinstance(value, list) and -len(value) <= step < len(value) else MISSING


def _step(step: re.Match[str]) -> str | int:
    if (name := step["name"]) is not None:
        return name
    if (quoted := step["quoted"]) is not None:
        return _ESCAPE.sub(r"\1", quoted)
    return int(step["index"])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
