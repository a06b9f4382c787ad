"""Idle connections, kept for a moment in case the same target is called again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from datetime import timedelta

from taskqueue.core.target import Address
from taskqueue.delivery.connection import Connection, Key


class Pool:
    """Idle connections by origin and address. What the peer closes falls out by itself through ``discard``."""

    def __init__(self, *, total: int, per_origin: int, idle_for: timedelta) -> None:
        self._total, self._per_origin = total, per_origin
        self._idle_for = idle_for.total_seconds()
        self._idle: dict[Key, list[Connection]] = {}  # longest idle first
        self._count = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def take(self, origin: str, addresses: Iterable[Address]) -> Connection | None:
        """The connection to one of ``addresses`` that was used last, no longer idle; ``None`` if there is none."""
        for address in addresses:
            idle = self._idle.get((origin, address.packed))
            while idle:
                connection = idle.pop()
                self._count -= 1
                if self._usable(connection):
                    return connection
                connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep ``connection`` for the next request, or close it if there are enough."""
        idle = self._idle.get(connection.key)
        if idle is None:
            idle = self._idle[connection.key] = []
        if self._count >= self._total or len(idle) >= self._per_origin:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        idle.append(connection)
        self._count += 1
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._idle_for, self._sweep, loop)

    def discard(self, connection: Connection) -> None:
        """Forget ``connection``, if it is idle."""
        idle = self._idle.get(connection.key)
        if idle and connection in idle:
            idle.remove(connection)
            self._count -= 1

    def close(self) -> None:
        """Close every idle connection."""
        self._close_idle_since(math.inf)
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _usable(self, connection: Connection) -> bool:
        if not connection.open or asyncio.get_running_loop().time() - connection.idle_since >= self._idle_for:
            return False
        return not connection.stale()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._close_idle_since(loop.time() - self._idle_for)
        self._sweeping = loop.call_later(self._idle_for / 4, self._sweep, loop) if self._idle else None

    def _close_idle_since(self, instant: float) -> None:
        """Close what has been idle since ``instant`` or longer."""
        for key, idle in list(self._idle.items()):
            kept = [connection for connection in idle if connection.idle_since > instant]
            for connection in idle[: len(idle) - len(kept)]:
                connection.close()
            self._count -= len(idle) - len(kept)
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
