"""The API key that a request brings, in either of two headers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from taskqueue.web.problems import unauthenticated

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_SCHEME = re.compile(r"bearer\b", re.IGNORECASE)
_HOW = "send Authorization: Bearer tq_… or X-API-Key: tq_…"


def presented(environ: Mapping[str, Any]) -> str:
    """What was sent as an API key, whatever it is. Raises a 401 where nothing was, or two things that differ.

    A header that came twice is one value with a comma in it, which no key has. Another scheme than Bearer may be meant
    for a gateway in front: beside ``X-API-Key`` it is left alone.
    """
    authorization = environ.get("HTTP_AUTHORIZATION", "").strip()
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None and _SCHEME.match(authorization):
        raise unauthenticated("Authorization says Bearer, and then not one API key", invalid=True)
    header: str = environ.get("HTTP_X_API_KEY", "").strip()
    if bearer is None:
        if not header:
            raise unauthenticated(f"this service asks for an API key; {_HOW}")
        return header
    # In bytes: of texts, only ASCII can be compared without telling how much of them is the same.
    if header and not hmac.compare_digest(header.encode(), bearer[1].encode()):
        raise unauthenticated("Authorization and X-API-Key hold different keys; send one of them", invalid=True)
    return bearer[1]
