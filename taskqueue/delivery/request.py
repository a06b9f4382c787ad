"""One request, and its head as it goes over the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from taskqueue.core.target import Target
from taskqueue.delivery.failure import AttemptFailed

_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})
# Decided here alone. Submit refuses them too; should one slip in, two framings of one request must not go out.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect"})
_VISIBLE = bytes((0x09, *range(0x20, 0x7F)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one attempt sends. Of headers with the same name the first wins."""

    target: Target
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    timeout: timedelta
    whole: bool = False  # all of the answer's body is wanted, up to the read cap, and not its beginning alone
    headers_read: frozenset[str] = frozenset()  # of the answer: kept, however many there are


def encode_head(request: Request) -> bytes:
    """The bytes before the body; ``AttemptFailed`` where a header would change the shape of the request."""
    target, body = request.target, request.body
    given = {name.lower(): f"{name}: {value}" for name, value in reversed(request.headers)}  # so that the first wins
    for name in _OURS.intersection(given):
        del given[name]
    lines = [f"{request.method} {target.path} HTTP/1.1", f"Host: {target.host_header}", "Accept-Encoding: identity"]
    lines += reversed(given.values())
    if "accept" not in given:
        lines.append("Accept: */*")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    elif request.method in _BODY_EXPECTED:
        lines.append("Content-Length: 0")
    lines.append("\r\n")
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass")
    if head.translate(None, _VISIBLE) != b"\r\n" * len(lines):
        raise AttemptFailed(
            "bad_request", "UnsendableHeader", "a header holds a character that no header may hold; nothing was sent"
        )
    return head
