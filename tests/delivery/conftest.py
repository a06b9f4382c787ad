"""What every delivery test needs: a loop of either kind, and one attempt at a time against a real local target."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
import uvloop

from taskqueue.core.outcome import Outcome
from taskqueue.core.target import AllowedTargets, parse_target
from taskqueue.delivery.http import Request, Trace, Transport
from taskqueue.delivery.tls import tls_context
from tests.support.target import LocalTarget

T = TypeVar("T")


@dataclass
class Courier:
    """Makes attempts one after the other, on one transport and one event loop."""

    runner: asyncio.Runner
    transport: Transport
    trace: Trace = field(default_factory=Trace)  # of the last attempt
    elapsed: float = 0.0  # seconds the last attempt took

    def deliver(self, url: str, **over: Any) -> Outcome:
        """One attempt; ``over`` as for ``request``."""
        return self.run(self.attempt(url, **over))

    async def attempt(self, url: str, **over: Any) -> Outcome:
        trace = self.trace = Trace()
        began = time.monotonic()
        try:
            return await self.transport.deliver(request(url, **over), trace)
        finally:
            self.elapsed = time.monotonic() - began

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def wait(self, seconds: float = 0.02) -> None:
        """Let the event loop notice what happened meanwhile."""
        self.run(asyncio.sleep(seconds))

    def until(self, condition: Callable[[], object], *, seconds: float = 20.0) -> None:
        """Let the event loop run until ``condition`` holds; fail if it does not within ``seconds``."""

        async def look() -> None:
            async with asyncio.timeout(seconds):
                while not condition():
                    await asyncio.sleep(0.005)

        self.run(look())


def request(
    url: str,
    *,
    method: str = "POST",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes | None = b"{}",
    timeout: float = 20.0,
    **over: Any,
) -> Request:
    span = timedelta(seconds=timeout)
    return Request(target=parse_target(url), method=method, headers=headers, body=body, timeout=span, **over)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """An event loop of each kind. What a loop would only have logged fails the test."""
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=request.param) as opened:
        opened.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        yield opened
    assert complaints == []


@pytest.fixture(scope="session")
def system_tls() -> ssl.SSLContext:
    """The default, read once: the system's store is long."""
    return tls_context()


@pytest.fixture
def courier_with(runner: asyncio.Runner, system_tls: ssl.SSLContext) -> Iterator[Callable[..., Courier]]:
    """Makes couriers whose transport is set up as told; loopback is allowed unless told otherwise."""
    made: list[Courier] = []

    def make(*, allowed: str = "127.0.0.1,::1", **over: Any) -> Courier:
        settings = {"tls": system_tls, **over}
        made.append(Courier(runner, Transport(allowed=AllowedTargets.parse(allowed), **settings)))
        return made[-1]

    yield make
    for courier in made:
        courier.run(courier.transport.close())


@pytest.fixture
def courier(courier_with: Callable[..., Courier]) -> Courier:
    return courier_with()


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    with LocalTarget() as opened:
        yield opened


@dataclass(frozen=True)
class Certificates:
    """A private authority: what servers show, and what clients must trust to believe them."""

    authority: trustme.CA
    file: Path

    def trusting(self) -> ssl.SSLContext:
        """Of a client that trusts the authority beside the system's."""
        return tls_context(str(self.file))

    def server(self, *names: str, **over: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, **over).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return Certificates(authority, file)
