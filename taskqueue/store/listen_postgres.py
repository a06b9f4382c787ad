"""Hints on PostgreSQL: LISTEN on a connection of its own."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy import URL

from taskqueue.store.dialect import Hint

CHANNEL = "taskqueue"
_RECONNECT_SECONDS = 1.0
_SLICE_SECONDS = 0.5  # how soon a waiting thread notices that it was closed
_LISTEN = f"listen {CHANNEL}"
_SESSION: dict[str, Any] = {
    "connect_timeout": 2,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "taskqueue-listener",
}


class PostgresListener:
    """A connection that listens, and comes back by itself when it breaks."""

    def __init__(self, url: URL, hints: frozenset[Hint]) -> None:
        self._conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._hints = {hint.value for hint in hints}
        self._conn: psycopg.Connection[tuple[object, ...]] | None = None
        self._closed, self._lock = threading.Event(), threading.Lock()
        self._retry_at = 0.0

    def wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not self._closed.is_set() and (left := deadline - time.monotonic()) > 0:
            with self._lock:
                try:
                    if self._listen(min(left, _SLICE_SECONDS)):
                        return True
                except psycopg.Error:
                    self._disconnect()
                    # Something may have been said while nobody listened: let the caller look.
                    return True
        return False

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            self._disconnect()

    def _listen(self, seconds: float) -> bool:
        conn = self._connected(seconds)
        return conn is not None and any(notice.payload in self._hints for notice in conn.notifies(timeout=seconds))

    def _connected(self, seconds: float) -> psycopg.Connection[tuple[object, ...]] | None:
        """The connection; ``None`` after ``seconds`` in vain while the database is away."""
        if self._conn is None:
            pause = self._retry_at - time.monotonic()
            if pause > 0:
                self._closed.wait(min(pause, seconds))
                return None
            self._retry_at = time.monotonic() + _RECONNECT_SECONDS
            conn = psycopg.connect(self._conninfo, autocommit=True, **_SESSION)
            conn.execute(_LISTEN)
            self._conn = conn
        return self._conn

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(psycopg.Error):
                conn.close()


class Deaf:
    """Hears nothing, for there is no session to listen with: whoever waits looks by himself."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def wait(self, timeout: float) -> bool:
        self._closed.wait(timeout)
        return False

    def close(self) -> None:
        self._closed.set()
