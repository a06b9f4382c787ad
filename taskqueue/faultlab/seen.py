"""What the lab saw: the last requests, and whether their signatures held."""

from __future__ import annotations

import base64
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from taskqueue.client import InvalidSignature, verify
from taskqueue.core.shown import masked, rfc3339
from taskqueue.faultlab.wire import Request

MOST = 1000
MOST_TASKS = 10_000
BODY_BYTES = 16 * 1024  # of each; the rest is dropped


class Seen:
    """The last ``MOST`` requests, and how often each task was failed. Nothing of it is written anywhere."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret
        self._items: deque[dict[str, Any]] = deque(maxlen=MOST)
        self._failed: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._total = 0

    def remember(self, request: Request) -> None:
        self._total += 1
        attempt = request.header("taskqueue-attempt")
        self._items.append(
            {
                "at": rfc3339(datetime.now(UTC)),
                "method": request.method,
                "path": request.target,
                "taskId": request.header("taskqueue-task-id"),
                "attemptId": request.header("taskqueue-attempt-id"),
                "attempt": int(attempt) if attempt and attempt.isdecimal() else None,
                "signature": self._signature(request),
                "headers": _headers(request),
                **_shown(request.body),
            }
        )

    def list(self, wanted: Mapping[str, str]) -> dict[str, Any]:
        """What is remembered, oldest first: of one task, or below one path, if ``wanted`` says so."""
        task, path = wanted.get("task"), wanted.get("path", "")
        items = [each for each in self._items if each["path"].startswith(path) and task in (None, each["taskId"])]
        return {"items": items, "forgotten": self._total - len(self._items)}

    def forget(self) -> None:
        """All of it, so that every play begins anew."""
        self._items.clear()
        self._failed.clear()
        self._total = 0

    def fails(self, request: Request, times: int | None) -> bool:
        """Whether ``request`` is among the first ``times`` of its task to come here; counts it."""
        if times is None:
            return True
        key = (request.header("taskqueue-task-id") or request.header("idempotency-key") or "", request.path)
        self._failed[key] = self._failed.get(key, 0) + 1
        self._failed.move_to_end(key)
        if len(self._failed) > MOST_TASKS:
            self._failed.popitem(last=False)
        return self._failed[key] <= times

    def _signature(self, request: Request) -> str:
        if request.header("webhook-signature") is None:
            return "missing"
        if self._secret is None:
            return "unchecked"
        try:
            verify(dict(request.headers), request.body, self._secret)
        except InvalidSignature:
            return "invalid"
        return "valid"


def _headers(request: Request) -> dict[str, str]:
    shown = masked((name[:100], value[:500]) for name, value in request.headers[:50])
    if "idempotency-key" in shown:
        # No credential, though it ends in -key: whether it is the same on every attempt is what one looks here for.
        shown["idempotency-key"] = (request.header("idempotency-key") or "")[:500]
    return shown


def _shown(body: bytes) -> dict[str, Any]:
    kept = body[:BODY_BYTES]
    cut = {"truncated": True} if len(body) > BODY_BYTES else {}
    try:
        return {"body": kept.decode(), **cut}
    except UnicodeDecodeError:
        return {"bodyBase64": base64.b64encode(kept).decode(), **cut}
