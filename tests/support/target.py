"""A target on a real socket whose behaviour a test scripts, request by request; hostile where asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

_PATIENCE = 30.0  # seconds after which a peer that is still there is left alone
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Hit:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]  # names as sent
    body: bytes
    connection: int  # from 1
    at: float  # of the monotonic clock, when its last byte came

    def header(self, name: str) -> str | None:
        """The value of ``name``, whatever its letters; fails if it was sent twice."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None


class PeerGone(Exception):
    """The other side closed the connection."""


class Peer:
    """The target's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self._sock, self._buffer = sock, b""
        sock.settimeout(_PATIENCE)

    def send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise PeerGone from error

    def read_head(self) -> bytes:
        """The next request's head, with its empty line."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._receive()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += self._receive()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_request(self) -> Hit:
        head = self.read_head().decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        method, path, version = first.split(" ")
        assert version == "HTTP/1.1"
        headers = tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines))
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = self.read_exactly(length)
        return Hit(method, path, headers, body, self.number, time.monotonic())

    def wait_for_request(self) -> None:
        """Return once the next request has begun, so that no scripted behaviour is spent on an idle connection."""
        if not self._buffer:
            self._buffer = self._receive()

    def wait_until_gone(self) -> bytes:
        """Read until the other side closes or resets; what it sent meanwhile."""
        data, self._buffer = self._buffer, b""
        with contextlib.suppress(PeerGone):
            while True:
                data += self._receive()
        return data

    def drip(self, data: bytes, every: float) -> None:
        """Send ``data`` byte by byte for as long as somebody reads."""
        for byte in data:
            self.send(bytes([byte]))
            time.sleep(every)

    def finish_sending(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._sock.close()

    def _receive(self) -> bytes:
        try:
            data = self._sock.recv(65536)
        except OSError as error:
            raise PeerGone from error
        if not data:
            raise PeerGone
        return data


Behaviour = Callable[["LocalTarget", Peer], None]
"""What happens with one request: takes it off the wire, or not. Raises ``PeerGone`` to end the connection."""


def answer(
    status: int = 200, body: bytes = b"", *, headers: tuple[tuple[str, str], ...] = (), after: float = 0.0
) -> Behaviour:
    """Take the request, then answer it, ``after`` seconds later, and keep the connection."""
    lines = [
        f"HTTP/1.1 {status} Status",
        f"Content-Length: {len(body)}",
        *(f"{name}: {text}" for name, text in headers),
    ]
    return raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, after=after, keep=True)


def held(gate: threading.Event, status: int = 200) -> Behaviour:
    """Take the request, then answer it once ``gate`` is open, and keep the connection."""

    def behave(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        gate.wait(_PATIENCE)
        peer.send(f"HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n".encode())

    return behave


def raw(data: bytes, *, after: float = 0.0, keep: bool = False) -> Behaviour:
    """Take the request, then send ``data`` as it stands and, unless ``keep``, close."""

    def behave(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        time.sleep(after)
        peer.send(data)
        if not keep:
            raise PeerGone

    return behave


def drip(data: bytes, *, at_once: bytes = b"", every: float = 0.05) -> Behaviour:
    """Take the request, send ``at_once`` in one piece, then ``data`` byte by byte."""

    def behave(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        peer.send(at_once)
        peer.drip(data, every)

    return behave


def endless(head: bytes, piece: bytes) -> Behaviour:
    """Take the request, then send ``piece`` for as long as somebody reads; ``target.poured`` counts the bytes."""

    def behave(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        peer.send(head)
        while True:
            peer.send(piece)
            target.poured += len(piece)

    return behave


def silence(target: LocalTarget, peer: Peer) -> None:
    """Take the request and never answer."""
    target.take(peer)
    peer.wait_until_gone()


def never_read(target: LocalTarget, peer: Peer) -> None:
    """Accept, and leave the request in the pipe until the target closes."""
    target.closing.wait(_PATIENCE)


def hang_up(target: LocalTarget, peer: Peer) -> None:
    """Take the request, then close."""
    target.take(peer)
    raise PeerGone


def reset(target: LocalTarget, peer: Peer) -> None:
    """Take the request, then reset the connection."""
    target.take(peer)
    peer.reset()
    raise PeerGone


def reset_within_request(target: LocalTarget, peer: Peer) -> None:
    """Take the head, then reset the connection."""
    peer.read_head()
    peer.reset()
    raise PeerGone


def refuse_body(status: int = 413, body: bytes = b"too large") -> Behaviour:
    """Take the head, answer, and close without reading what still comes."""

    def behave(target: LocalTarget, peer: Peer) -> None:
        peer.read_head()
        peer.send(f"HTTP/1.1 {status} Status\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        raise PeerGone

    return behave


def speak_first(data: bytes) -> Behaviour:
    """Send ``data`` before anything was asked, then wait."""

    def behave(target: LocalTarget, peer: Peer) -> None:
        peer.send(data)
        peer.wait_until_gone()

    return behave


@dataclass
class LocalTarget:
    """Listens until closed. Each request takes the next scripted behaviour, or ``default`` once there are no more."""

    default: Behaviour = field(default_factory=answer)
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    hits: list[Hit] = field(default_factory=list)
    connections: int = 0  # accepted so far
    open_connections: int = 0
    poured: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family, backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._script: deque[Behaviour] = deque()
        self._lock = threading.Lock()
        self._peers: dict[int, socket.socket] = {}
        threading.Thread(target=self._accept, name="target", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def origin(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{shown}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/work"

    def then(self, *behaviours: Behaviour) -> Self:
        """Behave so for the next requests, in this order."""
        self._script.extend(behaviours)
        return self

    def take(self, peer: Peer) -> Hit:
        """Read one request and put it on record."""
        hit = peer.read_request()
        with self._lock:
            self.hits.append(hit)
        return hit

    def wait_for(self, condition: Callable[[], object], *, seconds: float = 20.0) -> None:
        """Wait until ``condition`` holds; fail if it does not within ``seconds``."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "the target waited in vain"
            time.sleep(0.005)

    def close(self) -> None:
        """Stop listening and reset what is open."""
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._peers.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self.open_connections += 1
                number = self.connections
                self._peers[number] = sock
            threading.Thread(target=self._serve, args=(sock, number), name=f"peer-{number}", daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self.tls is not None:
                sock.settimeout(_PATIENCE)
                sock = self._peers[number] = self.tls.wrap_socket(sock, server_side=True)
            peer = Peer(sock, number)
            self._next(peer)  # at once: some behaviours do not wait for a request
            while not self.closing.is_set():
                peer.wait_for_request()
                self._next(peer)
        except (PeerGone, OSError):
            pass
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            with self._lock:
                del self._peers[number]
                self.open_connections -= 1

    def _next(self, peer: Peer) -> None:
        with self._lock:
            behaviour = self._script.popleft() if self._script else self.default
        behaviour(self, peer)
