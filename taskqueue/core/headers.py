"""Which request headers a task may bring along."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from taskqueue.core.errors import InvalidTask

MAX_HEADERS = 50
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e]{0,8192}")
# Of the connection rather than of the request, or set by the service so that it knows what it sent.
_RESERVED = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("host", "content-length", "expect", "accept-encoding"),
    }
)
_RESERVED_PREFIXES = ("proxy-", "taskqueue-", "webhook-")


def check_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]], pointer: str = "/headers") -> None:
    """Raise ``InvalidTask``, naming the header below ``pointer``, unless each may be sent as it stands."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if len(pairs) > MAX_HEADERS:
        raise InvalidTask(pointer, f"there are {len(pairs)} headers; at most {MAX_HEADERS} can be sent")
    seen = set()
    for name, value in pairs:
        if complaint := _complaint(name, value):
            raise InvalidTask(f"{pointer}/{_escaped(name)}", complaint)
        if name.lower() in seen:
            raise InvalidTask(f"{pointer}/{_escaped(name)}", "the same header is given twice, in different letters")
        seen.add(name.lower())


def _complaint(name: str, value: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "a header name is made of letters, digits and - _ . and the like, without spaces"
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
        return "this header is set by the service itself; leave it out"
    if not _VALUE.fullmatch(value):
        return "a header value holds visible ASCII characters, spaces and tabs, 8192 at most"
    if value != value.strip():
        return "a header value must not begin or end with a space"
    return None


def _escaped(name: str) -> str:
    """``name`` as one step of a JSON pointer, shortened and without what could not be shown."""
    shown = ascii(name[:64])[1:-1]
    return shown.replace("~", "~0").replace("/", "~1")
