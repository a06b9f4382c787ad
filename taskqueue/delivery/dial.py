"""Open a connection to an address that was checked, and to no other."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from taskqueue.core.outcome import Phase
from taskqueue.core.target import Address, Target
from taskqueue.delivery.connection import Connection
from taskqueue.delivery.failure import not_connected, not_secured
from taskqueue.delivery.guard import check_peer
from taskqueue.delivery.trace import Trace

_MAX_ADDRESSES = 8
_SHARE = 5.0  # seconds for one of several addresses at most
_TCP_OPTIONS = (("TCP_NODELAY", 1), ("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class Dialer:
    """Opens connections, and keeps account of those that are open."""

    def __init__(self, tls: ssl.SSLContext, *, on_lost: Callable[[Connection], None]) -> None:
        self._tls, self._on_lost = tls, on_lost
        self._open: set[Connection] = set()

    async def dial(self, target: Target, addresses: Sequence[Address], trace: Trace, *, deadline: float) -> Connection:
        """Connect to the first of ``addresses`` that lets us, and secure it for https; else ``AttemptFailed``."""
        trace.enter(Phase.CONNECT)
        address, sock = await _connect_one(target, addresses[:_MAX_ADDRESSES], deadline=deadline)
        secure = target.scheme == "https"
        if secure:
            trace.enter(Phase.TLS)
        connection = Connection(sock, (target.origin, address.packed), secure=secure, on_lost=self._lost)
        await self._attach(connection, sock, deadline=deadline, server_name=target.host if secure else None)
        if connection.open:
            self._open.add(connection)
        return connection

    async def close(self) -> None:
        """Cut every connection off and wait until all are gone."""
        for connection in list(self._open):
            connection.reset()
        while self._open:
            await asyncio.sleep(0)

    async def _attach(
        self, connection: Connection, sock: socket.socket, *, deadline: float, server_name: str | None
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            if server_name is None:
                await loop.create_connection(lambda: connection, sock=sock)
            else:
                await loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=server_name,
                    ssl_handshake_timeout=max(deadline - loop.time(), 0) + 1,  # the attempt's own comes first
                )
        except BaseException as error:
            connection.abandon()
            if isinstance(error, OSError):
                raise not_connected(error) if server_name is None else not_secured(error) from None
            raise

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._on_lost(connection)


async def _connect_one(
    target: Target, addresses: Sequence[Address], *, deadline: float
) -> tuple[Address, socket.socket]:
    """A socket connected to the first address that takes the connection within its share of the time."""
    loop = asyncio.get_running_loop()
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = min((deadline - loop.time()) / left, _SHARE) if left > 1 else None
        try:
            async with asyncio.timeout(share):
                return address, await _connect(target, address)
        except OSError as error:  # TimeoutError, ours or the system's, is one of them
            failure = not_connected(error)
    raise failure


async def _connect(target: Target, address: Address) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _set_options(sock)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), target.port))
        check_peer(target, address, ip_address(sock.getpeername()[0]))
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket) -> None:
    """Send without delay; notice within two minutes when a peer that owes an answer has vanished."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
