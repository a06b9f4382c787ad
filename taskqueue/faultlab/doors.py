"""Ports where a call fails before its request is sent: closed, silent, narrow, or with the wrong certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NARROW_BYTES = 128 * 1024  # a body of this size does not fit into the pipe of the narrow port
_PATIENCE = 900.0


class Doors:
    """The ports beside the lab's own: opened together, each at the next number after the first unless that is 0."""

    def __init__(self, host: str, port: int, authority: Path) -> None:
        self._host, self._next = host, port
        self.authority = authority  # written at the opening: the certificate that signs all others
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._shown = f"[{host}]" if ":" in host else host
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self.port = 0  # of the lab itself

    async def open(self, serve: Serve, *, narrow: Serve, limit: int) -> dict[str, str]:
        """The address of each thing that a request cannot play, by name. ``narrow`` serves the port of that kind."""
        import trustme

        main = self._bind()
        self.port = main.getsockname()[1]
        await self._listen(main, serve, limit=limit)
        authority, now = trustme.CA(), datetime.now(UTC)
        authority.cert_pem.write_to_path(str(self.authority))
        certificates = {
            "tls_certificate": authority.issue_cert(self._host),
            "tls_certificate_expired": authority.issue_cert(
                self._host, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
            ),
            "tls_certificate_for_another_name": authority.issue_cert("another.example"),
        }
        addresses = {"connect_refused": self._closed(), "connect_timeout": self._full()}
        for name, certificate in certificates.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            addresses[name] = await self._secure(serve, context, limit=limit)
        addresses["tls_handshake"] = await self._raw(_speak_plain)
        addresses["tls_timeout"] = await self._raw(_say_nothing)
        addresses["send_aborted"] = await self._narrow(narrow, limit=limit)
        return addresses | _ELSEWHERE

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for each in self._sockets:
            each.close()

    def _bind(self) -> socket.socket:
        opened = socket.socket(self._family, socket.SOCK_STREAM)
        self._sockets.append(opened)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setblocking(False)
        opened.bind((self._host, self._next))
        self._next += 1 if self._next else 0
        return opened

    def _url(self, opened: socket.socket, scheme: str = "http") -> str:
        return f"{scheme}://{self._shown}:{opened.getsockname()[1]}/"

    def _closed(self) -> str:
        """Bound, so that nobody else gets the port, and never listening."""
        return self._url(self._bind())

    def _full(self) -> str:
        """Listening with its queue full, so that the system answers nobody any more."""
        opened = self._bind()
        opened.listen(0)
        for _ in range(3):
            waiting = socket.socket(self._family, socket.SOCK_STREAM)
            self._sockets.append(waiting)
            waiting.setblocking(False)
            waiting.connect_ex(opened.getsockname())
        return self._url(opened)

    async def _secure(self, serve: Serve, context: ssl.SSLContext, *, limit: int) -> str:
        opened = self._bind()
        self._servers.append(await asyncio.start_server(serve, sock=opened, ssl=context, limit=limit))
        return self._url(opened, "https")

    async def _raw(self, serve: Serve) -> str:
        opened = self._bind()
        await self._listen(opened, serve, limit=2**16)
        return self._url(opened, "https")

    async def _narrow(self, serve: Serve, *, limit: int) -> str:
        """With packets and buffers so small that a body is still on its way when the connection is reset."""
        opened = self._bind()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with suppress(OSError, AttributeError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        await self._listen(opened, serve, limit=limit)
        return f"{self._url(opened)}class/send_aborted"

    async def _listen(self, opened: socket.socket, serve: Serve, *, limit: int) -> None:
        self._servers.append(await asyncio.start_server(serve, sock=opened, limit=limit, backlog=1024))


# Not ports at all.
_ELSEWHERE = {
    "dns_not_found": "http://no-such-host.invalid/",
    "connect_unreachable": "http://127.255.255.255:8080/",  # a network's last address: no host, so no way there
    "target_forbidden": "http://169.254.169.254/",
}


async def _speak_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the beginning of a TLS handshake in plain HTTP."""
    with suppress(OSError):
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while await reader.read(65536):
                pass
    writer.close()
