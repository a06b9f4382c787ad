"""When API keys were used last, written down behind the requests' backs."""

from __future__ import annotations

import threading
import time

from taskqueue.core.api_key import ApiKey, ApiKeyId
from taskqueue.core.errors import StoreUnavailable
from taskqueue.store import api_keys
from taskqueue.store.api_keys import USE_NOTED
from taskqueue.store.database import Database

_EVERY_SECONDS = 5.0
_Use = tuple[str, ApiKeyId]


class KeyUses:
    """A thread that writes now and then which keys were used; it starts with the first use."""

    def __init__(self, database: Database, *, every: float = _EVERY_SECONDS) -> None:
        self._database, self._every = database, every
        self._lock = threading.Lock()
        self._used: set[_Use] = set()
        self._written: dict[_Use, float] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, key: ApiKey) -> None:
        """The key was used just now. Waits for nothing."""
        with self._lock:
            self._used.add((key.project, key.id))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="key-uses", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._every):
            self._write()
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        # Rare keys are not looked at again and again: to find that nothing is to be written takes a write transaction.
        self._written = {use: at for use, at in self._written.items() if now - at < USE_NOTED.total_seconds()}
        with self._lock:
            due = self._used - self._written.keys()
            self._used -= due
        if not due:
            return
        try:
            with self._database.begin() as conn:
                api_keys.note_uses(conn, self._database, due)
        except StoreUnavailable:  # that the store is away, others say
            with self._lock:
                self._used |= due
            return
        self._written |= dict.fromkeys(due, now)
