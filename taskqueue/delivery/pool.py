"""Idle connections, kept for a moment in case the same target is called again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

from taskqueue.core.target import Address
from taskqueue.delivery.connection import Connection, Key


class Pool:
    """Idle connections by origin and address. What the peer closes falls out by itself through ``discard``."""

    def __init__(self, *, total: int, per_origin: int, idle_for: timedelta) -> None:
        self._total, self._per_origin = total, per_origin
        self._idle_for = idle_for.total_seconds()
        self._idle: dict[Key, dict[Connection, None]] = {}
        self._all: dict[Connection, None] = {}  # longest idle first
        self._sweeping: asyncio.TimerHandle | None = None

    def take(self, origin: str, addresses: Iterable[Address]) -> Connection | None:
        """The connection to one of ``addresses`` that was used last, no longer idle; ``None`` if there is none."""
        for address in addresses:
            key = (origin, address.packed)
            while idle := self._idle.get(key):
                connection = next(reversed(idle))
                self.discard(connection)
                if self._usable(connection):
                    return connection
                connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep ``connection`` for the next request, or close it if there are enough."""
        idle = self._idle.setdefault(connection.key, {})
        if len(self._all) >= self._total or len(idle) >= self._per_origin:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        idle[connection] = self._all[connection] = None
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._idle_for, self._sweep, loop)

    def discard(self, connection: Connection) -> None:
        """Forget ``connection``, if it is idle."""
        if connection in self._all:
            del self._all[connection]
            idle = self._idle[connection.key]
            del idle[connection]
            if not idle:
                del self._idle[connection.key]

    def close(self) -> None:
        """Close every idle connection."""
        for connection in list(self._all):
            self.discard(connection)
            connection.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _usable(self, connection: Connection) -> bool:
        if not connection.open or asyncio.get_running_loop().time() - connection.idle_since >= self._idle_for:
            return False
        return not connection.stale()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = None
        now = loop.time()
        for connection in list(self._all):
            if connection.idle_since + self._idle_for > now:
                wait = connection.idle_since + self._idle_for - now
                self._sweeping = loop.call_later(max(wait, 0.1), self._sweep, loop)
                return
            self.discard(connection)
            connection.close()
