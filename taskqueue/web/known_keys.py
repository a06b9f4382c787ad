"""API keys that opened the door a moment ago, so that not every request asks the store."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from taskqueue.core.api_key import ApiKey, ApiKeyId, Standing, key_hash
from taskqueue.store import api_keys
from taskqueue.store.database import Database

# A revoked key opens nothing 5 s later, in any process: this, and the time that the read before it may have taken.
_KEPT_SECONDS = 3.0
_MOST = 1024


class KnownKeys:
    """Only keys that stand are kept, and only so many: who tries keys out fills no memory, and costs one read each."""

    def __init__(self, database: Database, *, most: int = _MOST) -> None:
        self._database, self._most = database, most
        self._lock = threading.Lock()
        self._epoch = 0
        self._known: OrderedDict[bytes, _Known] = OrderedDict()  # by the hash: the key itself is kept nowhere

    def __len__(self) -> int:
        return len(self._known)

    def find(self, text: str) -> tuple[ApiKey, Standing] | None:
        """The key that ``text`` is and how it stands, as it was 3 s ago at most."""
        hashed, now = key_hash(text), time.monotonic()
        with self._lock:
            known, epoch = self._known.get(hashed), self._epoch
            if known is not None and now < known.until:
                self._known.move_to_end(hashed)
                return known.key, Standing.ACTIVE
        with self._database.read() as conn:
            key = api_keys.find(conn, text)
            read_at = self._database.now(conn)
        if key is None:
            return None
        standing = key.standing(read_at)
        if standing is Standing.ACTIVE:
            left = (key.expires_at - read_at).total_seconds() if key.expires_at is not None else _KEPT_SECONDS
            self._keep(hashed, _Known(key, now + min(left, _KEPT_SECONDS)), epoch)
        return key, standing

    def forget(self, id_: ApiKeyId) -> None:
        """Look again: this process has changed the key."""
        with self._lock:
            self._epoch += 1
            for hashed in [hashed for hashed, known in self._known.items() if known.key.id == id_]:
                del self._known[hashed]

    def _keep(self, hashed: bytes, known: _Known, epoch: int) -> None:
        with self._lock:
            if epoch != self._epoch:  # what was read may be from before a change
                return
            self._known[hashed] = known
            self._known.move_to_end(hashed)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey
    until: float  # on the monotonic clock
