"""JSON between the terminal and the service: not a byte of it is changed on the way."""

from __future__ import annotations

import json
import sys
from typing import NoReturn

from taskqueue.cli.failure import fail
from taskqueue.client import RawJson
from taskqueue.web import scan


def read_json(text: str, option: str) -> RawJson:
    """The JSON in ``text``, or on standard input for ``-``; fails with a sentence unless the service can read it."""
    content = sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogateescape")
    try:
        scan.check(content)
    except scan.UnreadableJson as error:
        if "not JSON" not in str(error):
            fail(str(error).replace("the body", option, 1))
        fail(f"{option} is not JSON: {_fault(content)}")
    return RawJson(content)


def payload_of_letter(text: str) -> str | None:
    """What a dead letter, given as JSON, delivers: its payload as it was sent, or its body; ``None`` for neither."""
    task = scan.members(scan.members(text.encode())["task"])
    if "payload" in task:
        return task["payload"].decode()
    other = task.get("body", task.get("bodyBase64"))
    return str(json.loads(other)) if other is not None else None


def _fault(content: bytes) -> str:
    try:
        json.loads(content.decode(), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"{error}; a text needs quotes: '\"hello\"'; - reads standard input"
    except (ValueError, RecursionError) as error:
        return str(error)
    return "it is malformed"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")
