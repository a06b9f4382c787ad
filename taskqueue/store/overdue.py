"""Cutting connections whose server does not answer: one that is frozen keeps its TCP alive, and the driver waits."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, event

_LOOK_SECONDS = 0.25
_LINGER_SECONDS = 10.0  # that the thread outlives the last connection that was out


class Overdue:
    """Watches how long connections are out of their pools. The server's own timeouts are shorter."""

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit.total_seconds()
        self._out: dict[Any, float] = {}  # driver connection -> when it is overdue
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, engine: Engine) -> None:
        """Cut any connection of ``engine`` that is out for longer than the limit."""
        event.listen(engine, "checkout", lambda raw, *_: self._note(raw))
        event.listen(engine, "checkin", lambda raw, *_: self._forget(raw))
        event.listen(engine, "invalidate", lambda raw, *_: self._forget(raw))

    def _note(self, raw: Any) -> None:
        with self._lock:
            self._out[raw] = time.monotonic() + self._limit
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="overdue", daemon=True)
                self._thread.start()

    def _forget(self, raw: Any) -> None:
        with self._lock:
            self._out.pop(raw, None)

    def _run(self) -> None:
        last_out = time.monotonic()
        while True:
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            with self._lock:
                for raw in [raw for raw, overdue_at in self._out.items() if overdue_at <= now]:
                    del self._out[raw]
                    _cut(raw)
                last_out = now if self._out else last_out
                if now - last_out > _LINGER_SECONDS:
                    self._thread = None
                    return


def _cut(raw: Any) -> None:
    """End the conversation under the waiting driver, which then raises; the connection stays its thread's to close."""
    with suppress(OSError), socket.socket(fileno=os.dup(raw.pgconn.socket)) as handle:
        handle.shutdown(socket.SHUT_RDWR)
