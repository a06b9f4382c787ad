"""What a play has before it, and what a play is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from taskqueue.faultlab.options import Options
from taskqueue.faultlab.wire import Peer, PeerGone, Request

Performance = Callable[["Stage"], Awaitable[None]]
"""Fails one request; raises ``PeerGone`` to end the connection, ``BadRequest`` for options that cannot be had."""

PATIENCE = 900.0  # seconds after which a play that never ends does


@dataclass(frozen=True, slots=True)
class Stage:
    """One request that is to be failed."""

    request: Request
    options: Options
    peer: Peer

    async def answer(self, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
        """An answer with what the options ask for in it."""
        body = body if self.options.body is None else self.options.body
        await self.peer.answer(status, body, (*headers, *self.options.headers))

    async def silence(self) -> None:
        """Say nothing more until the other side has had enough."""
        await self.peer.until_gone(PATIENCE)
        raise PeerGone

    async def on_and_on(self, piece: bytes, *, every: float = 0.0) -> None:
        """Send ``piece`` again and again for as long as somebody reads."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.peer.send(piece)
                await asyncio.sleep(every)


@dataclass(frozen=True, slots=True)
class Play:
    """One way to fail."""

    cls: str  # the outcome class it leads to
    about: str
    perform: Performance
    unread: bool = False  # begins before the body of the request was read
