"""Errors as callers see them: ``application/problem+json`` (RFC 9457), one kind per thing that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from taskqueue.core.errors import Conflict, InvalidTask, KeyReused, StoreUnavailable, TaskQueueError
from taskqueue.web.scan import UnreadableJson

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 1  # seconds; a store that could not commit is asked again soon, with the same key
_MOST_FAULTS = 100


class FaultResource(TypedDict):
    """One thing that is wrong with the request, and where."""

    pointer: str
    detail: str


class ProblemResource(TypedDict):
    """What went wrong, in the form of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FaultResource]]
    requestId: str


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What problems of one kind have in common; ``slug`` makes their ``type``."""

    status: int
    slug: str
    title: str


UNREADABLE = ProblemKind(400, "unreadable", "The request cannot be read")
UNAUTHENTICATED = ProblemKind(401, "unauthenticated", "Nobody knows who calls")
NOT_ALLOWED = ProblemKind(403, "not-allowed", "The API key does not allow this")
FOREIGN_ORIGIN = ProblemKind(403, "foreign-origin", "The request comes from elsewhere")
NOT_FOUND = ProblemKind(404, "not-found", "There is nothing here")
METHOD_NOT_ALLOWED = ProblemKind(405, "method-not-allowed", "The method is not allowed here")
CONFLICT = ProblemKind(409, "conflict", "The state does not allow this")
TOO_LARGE = ProblemKind(413, "too-large", "The request body is too large")
MEDIA_TYPE_REFUSED = ProblemKind(415, "media-type", "The media type cannot be read")
INVALID = ProblemKind(422, "invalid", "A field cannot be accepted")
KEY_REUSED = ProblemKind(422, "key-reused", "The idempotency key belongs to another body")
BUG = ProblemKind(500, "internal", "The service has a fault")
BUSY = ProblemKind(503, "busy", "Too many requests are being read")
UNAVAILABLE = ProblemKind(503, "unavailable", "The store cannot serve right now")


@dataclass(eq=False)
class Problem(Exception):
    """Ends a request with an error answer."""

    kind: ProblemKind
    detail: str
    errors: tuple[FaultResource, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def resource(self, request_id: str) -> ProblemResource:
        """The body of the answer."""
        body: ProblemResource = {
            "type": f"urn:taskqueue:problem:{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "requestId": request_id,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        return body


class Faults:
    """What is wrong with a request, gathered so that a caller learns of all of it at once."""

    def __init__(self) -> None:
        self._found: list[FaultResource] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, pointer: str, detail: str) -> None:
        self._found.append({"pointer": pointer, "detail": detail})

    def raise_any(self) -> None:
        """Raise a 422 that lists every fault, if there is one."""
        if not self._found:
            return
        count = len(self._found)
        first = self._found[0]
        if count == 1:
            raise invalid(first["pointer"], first["detail"])
        raise Problem(INVALID, f"{count} things are wrong; see errors", tuple(self._found[:_MOST_FAULTS]))


def invalid(pointer: str, detail: str) -> Problem:
    """The 422 for one fault."""
    return Problem(INVALID, f"{pointer or 'the body'}: {detail}", ({"pointer": pointer, "detail": detail},))


def problem_of(error: TaskQueueError | UnreadableJson) -> Problem | None:
    """The answer an expected error deserves; ``None`` for one that no request should be able to cause."""
    match error:
        case UnreadableJson():
            return Problem(UNREADABLE, str(error))
        case InvalidTask():
            return invalid(error.pointer, error.detail)
        case KeyReused():
            return Problem(KEY_REUSED, str(error))
        case Conflict():
            return Problem(CONFLICT, str(error))
        case StoreUnavailable():
            return unavailable(str(error))
        case _:
            return None


def unauthenticated(detail: str, *, invalid: bool = False) -> Problem:
    """The 401 of a request without a key that opens anything; ``invalid`` where it brought one."""
    error = ', error="invalid_token"' if invalid else ""
    return Problem(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": f'Bearer realm="taskqueue"{error}'})


def unavailable(detail: str) -> Problem:
    """The 503 of a store that cannot commit."""
    return Problem(UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER)})
