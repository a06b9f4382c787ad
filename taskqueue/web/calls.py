"""One request as the views see it, and the answer they give."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from taskqueue.web import scan
from taskqueue.web.auth import Caller
from taskqueue.web.intake import Intake
from taskqueue.web.problems import MEDIA_TYPE_REFUSED, TOO_LARGE, UNREADABLE, Faults, Problem, invalid
from taskqueue.web.reading import M, read, read_query

_JSON = re.compile(r'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
_LONGEST_NUMBER = 15  # digits
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer; ``body`` is printed as JSON, and ``None`` means that there is none."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is being carried out."""

    environ: Mapping[str, Any] = field(repr=False)  # of WSGI; holds the API key
    caller: Caller
    id: UUID | None  # of the thing that the path names
    name: str | None  # of the queue or flow key that the path names
    text: bytes = field(repr=False)  # the body, checked to be JSON; empty when there is none

    def body(self, model: type[M]) -> M:
        """The body as a ``model``; an absent one is an empty object. Raises a 422 that lists all that is wrong."""
        faults = Faults()
        asked = read(self.text or b"{}", model, faults)
        faults.raise_any()
        assert asked is not None, "what cannot be read leaves a fault"
        return asked

    def query(self, model: type[M]) -> M:
        """The query string as a ``model``, or a 422."""
        faults = Faults()
        asked = read_query(self.environ.get("QUERY_STRING", ""), model, faults)
        faults.raise_any()
        assert asked is not None, "what cannot be read leaves a fault"
        return asked

    def header(self, name: str) -> str | None:
        """The value of a request header, by its WSGI name."""
        value: str | None = self.environ.get(name)
        return value

    def thing(self) -> UUID:
        """The id in the path, for operations that have one there."""
        assert self.id is not None, "the route names an id"
        return self.id

    def named(self, pattern: re.Pattern[str], expected: str) -> str:
        """The name in the path, for operations that have one there; a 422 unless all of it matches."""
        assert self.name is not None, "the route has a name"
        if not pattern.fullmatch(self.name):
            raise invalid("", f"the path names none: expected {expected}")
        return self.name


def request_id(environ: Mapping[str, Any]) -> str:
    """The caller's own id for the request if it is a plain one, else a new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else os.urandom(12).hex()


def read_body(environ: Mapping[str, Any], limit: int, intake: Intake, *, required: bool) -> bytes:
    """The body, checked to be JSON and never more than ``limit`` bytes; empty only where none is required."""
    text = _read(environ, limit, intake)
    if not text:
        if required:
            raise Problem(UNREADABLE, "the body is empty; send a JSON object")
        return text
    _check_media_type(environ)
    scan.check(text)
    return text


def _read(environ: Mapping[str, Any], limit: int, intake: Intake) -> bytes:
    declared = environ.get("CONTENT_LENGTH")
    if declared:
        if not declared.isascii() or not declared.isdecimal():
            raise Problem(UNREADABLE, "Content-Length is not a number")
        if len(declared) > _LONGEST_NUMBER or (length := int(declared)) > limit:  # refused unread
            raise _too_large(limit)
        with intake.place():
            text: bytes = environ["wsgi.input"].read(length)
        if len(text) < length:
            raise Problem(UNREADABLE, "the body ended before its Content-Length")
    else:
        with intake.place():
            text = environ["wsgi.input"].read(limit + 1)
        if len(text) > limit:
            raise _too_large(limit)
    return text


def _check_media_type(environ: Mapping[str, Any]) -> None:
    # A page in a browser can send other types to a service on this machine without asking; this one it cannot.
    if not _JSON.fullmatch(environ.get("CONTENT_TYPE", "")):
        raise Problem(MEDIA_TYPE_REFUSED, "send the body with Content-Type: application/json, in UTF-8")
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Problem(MEDIA_TYPE_REFUSED, "send the body without a Content-Encoding")


def _too_large(limit: int) -> Problem:
    settings = "TASKQUEUE_MAX_BODY_BYTES, for batches TASKQUEUE_MAX_BATCH_BYTES"
    return Problem(TOO_LARGE, f"the body is larger than {limit} bytes; an operator can raise the limit ({settings})")
