"""Names to addresses, in threads of its own, so that a slow resolver stalls nothing but the names it is slow for."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from queue import SimpleQueue

from taskqueue.core.target import Address
from taskqueue.delivery.failure import AttemptFailed

Lookup = Callable[[str], Sequence[Address]]
_Answer = tuple[Address, ...] | Exception

_NOT_FOUND = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
)
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def system_lookup(host: str) -> list[Address]:
    """The addresses that the operating system knows for ``host``, best first; raises ``OSError``."""
    # Bytes, because Python would put a text through an older IDNA than the one it was checked with.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ip_address(sockaddr[0]) for *_, sockaddr in found]


@dataclass(slots=True, eq=False)
class _Question:
    answer: asyncio.Future[_Answer]
    waiting: int = 0


class Resolver:
    """Looks names up, each once at a time however many ask. An answer serves for ``fresh_for``, a failure never.

    The deadline is the caller's: a caller that leaves does not disturb the others, and what nobody waits for any more
    is not looked up. Belongs to one event loop.
    """

    def __init__(
        self,
        lookup: Lookup = system_lookup,
        *,
        threads: int = 64,  # begun as they are needed; each slow name holds one for as long as the system waits for it
        max_under_way: int = 1000,
        fresh_for: timedelta = timedelta(seconds=1),
    ) -> None:
        self._lookup = lookup
        self._max_threads, self._max_under_way = threads, max_under_way
        self._fresh_for = fresh_for.total_seconds()
        self._threads = 0
        self._asked: SimpleQueue[str | None] = SimpleQueue()
        self._under_way: dict[str, _Question] = {}
        # A question is taken out by the thread that begins it or by the last who leaves: whoever comes first has it.
        self._unbegun: dict[str, _Question] = {}
        self._fresh: dict[str, tuple[float, tuple[Address, ...]]] = {}  # oldest first

    def known(self, host: str) -> tuple[Address, ...] | None:
        """The answer of a moment ago, if it is still fresh."""
        until, addresses = self._fresh.get(host, (0.0, None))
        return addresses if asyncio.get_running_loop().time() < until else None

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """Every address of ``host``, best first, at least one; else ``AttemptFailed``."""
        loop = asyncio.get_running_loop()
        question = self._under_way.get(host) or self._ask(host, loop)
        question.waiting += 1
        try:
            answer = await asyncio.shield(question.answer)
        finally:
            question.waiting -= 1
            if not question.waiting and not question.answer.done():
                self._withdraw(host)
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)  # shared with whoever else asked
        return answer

    def close(self) -> None:
        """Let the threads go; one that hangs in a lookup does not keep the process alive."""
        for _ in range(self._threads):
            self._asked.put(None)
        self._threads = 0

    def _ask(self, host: str, loop: asyncio.AbstractEventLoop) -> _Question:
        if len(self._under_way) >= self._max_under_way:
            raise AttemptFailed("local_resource", "ResolverBusy", "too many names are being looked up already")
        question = self._under_way[host] = self._unbegun[host] = _Question(loop.create_future())
        if self._threads < min(self._max_threads, len(self._under_way)):
            self._threads += 1
            threading.Thread(target=self._work, name=f"resolver-{self._threads}", daemon=True).start()
        self._asked.put(host)
        return question

    def _withdraw(self, host: str) -> None:
        if self._unbegun.pop(host, None) is not None:
            del self._under_way[host]

    def _work(self) -> None:
        while (host := self._asked.get()) is not None:
            question = self._unbegun.pop(host, None)
            if question is None:
                continue
            future, answer = question.answer, self._answer(host)
            try:
                future.get_loop().call_soon_threadsafe(self._tell, host, future, answer)
            except RuntimeError:
                return  # the event loop has ended, and with it everybody who asked

    def _answer(self, host: str) -> _Answer:
        try:
            addresses = tuple(dict.fromkeys(self._lookup(host)))
        except socket.gaierror as error:
            return _not_resolved(host, error)
        except OSError as error:
            return _not_looked_up(host, error)
        except Exception as error:
            return error
        return addresses or _no_address(host)

    def _tell(self, host: str, future: asyncio.Future[_Answer], answer: _Answer) -> None:
        del self._under_way[host]
        if isinstance(answer, tuple) and self._fresh_for:
            self._remember(host, answer, future.get_loop().time())
        future.set_result(answer)

    def _remember(self, host: str, addresses: tuple[Address, ...], now: float) -> None:
        self._fresh.pop(host, None)
        while self._fresh and self._fresh[oldest := next(iter(self._fresh))][0] <= now:
            del self._fresh[oldest]
        self._fresh[host] = (now + self._fresh_for, addresses)


def _not_resolved(host: str, error: socket.gaierror) -> AttemptFailed:
    if error.errno in _NOT_FOUND:
        return _no_address(host)
    if error.errno == socket.EAI_MEMORY:
        return AttemptFailed("local_resource", "gaierror", "there was no memory left to look a name up")
    return AttemptFailed("dns_failure", "gaierror", f"the resolver failed for {host}: {error.strerror}")


def _not_looked_up(host: str, error: OSError) -> AttemptFailed:
    cls = "local_resource" if error.errno in _EXHAUSTED else "dns_failure"
    return AttemptFailed(cls, type(error).__name__, f"{host} could not be looked up: {error.strerror}")


def _no_address(host: str) -> AttemptFailed:
    return AttemptFailed("dns_not_found", "NameNotFound", f"the name {host} does not exist or has no address")
