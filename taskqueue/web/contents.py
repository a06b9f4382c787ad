"""What a task delivers: a payload taken byte for byte, or a body of another kind."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from msgspec import UNSET

from taskqueue.web.models import MAX_METADATA, Redrive, TaskFields
from taskqueue.web.problems import Faults
from taskqueue.web.reading import either

JSON = "application/json"
_WITHOUT_BODY = ("GET", "DELETE")
_SPELLINGS = ("payload", "body", "bodyBase64")


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a delivery and what they are."""

    body: bytes
    content_type: str


def read_content(asked: TaskFields | Redrive, faults: Faults, *, method: str) -> Content | None:
    """The content that was given, in whichever spelling; ``None`` when there is none, or it cannot be accepted."""
    given = asked.given(*_SPELLINGS)
    if method in _WITHOUT_BODY:
        for name in given:
            faults.add(asked.at(name), f"a {method} carries no body; leave it out or use POST")
    elif len(given) > 1:
        *others, last = given
        faults.add(asked.at(given[1]), f"{', '.join(others)} and {last} are given; a task carries only one of them")
    if asked.given("contentType") and (not given or given[0] == "payload"):
        faults.add(asked.at("contentType"), f"contentType goes with body or bodyBase64; a payload is {JSON}")
    if asked.payload is not UNSET:
        return Content(bytes(asked.payload), JSON)
    if asked.body is not UNSET:
        return Content(asked.body.encode(), either(asked.content_type, "text/plain; charset=utf-8"))
    if asked.body_base64 is not UNSET:
        return _decoded(asked.body_base64, asked, faults)
    return None


def metadata(asked: TaskFields, faults: Faults) -> bytes | None:
    """The metadata as it was sent."""
    if asked.metadata is UNSET:
        return None
    text = bytes(asked.metadata)
    if not text.startswith(b"{"):
        faults.add(asked.at("metadata"), "expected an object")
    if len(text) > MAX_METADATA:
        faults.add(asked.at("metadata"), f"expected at most {MAX_METADATA} bytes, got {len(text)}")
    return text


def _decoded(text: str, asked: TaskFields | Redrive, faults: Faults) -> Content | None:
    try:
        body = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, or letters outside ASCII
        faults.add(asked.at("bodyBase64"), "expected base64 with its padding and without line breaks")
        return None
    return Content(body, either(asked.content_type, "application/octet-stream"))
