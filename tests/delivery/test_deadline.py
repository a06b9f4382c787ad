"""One deadline over everything: whatever a peer does, the attempt ends on time and says how far it got."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from taskqueue.core.outcome import Outcome, Partial, Phase
from taskqueue.core.target import Address
from taskqueue.delivery.resolver import Resolver
from tests.delivery.conftest import Certificates, Courier
from tests.support.target import Behaviour, LocalTarget, Peer, answer, drip, never_read, silence

TIMEOUT = 0.5
SLACK = 5.0  # for the machine that runs the tests: every peer here keeps on for longer
HEAD = b"HTTP/1.1 200 OK\r\n"


def cut(courier: Courier, url: str, *, body: bytes = b"{}") -> Outcome:
    """One attempt that the deadline must end."""
    outcome = courier.deliver(url, timeout=TIMEOUT, body=body)
    assert TIMEOUT - 0.01 <= courier.elapsed <= TIMEOUT + SLACK
    assert outcome.error_type == "DeadlinePassed"
    assert outcome.timings is not None
    return outcome


DRIPS: dict[str, tuple[Behaviour, Phase]] = {
    "silence": (silence, Phase.SENT),
    "headers": (drip(b"X-A: " + b"a" * 1000, at_once=HEAD, every=0.02), Phase.HEADERS),
    "body": (drip(b"a" * 1000, at_once=HEAD + b"Content-Length: 1000\r\n\r\n", every=0.02), Phase.BODY),
    "chunks": (drip(b"1\r\na\r\n" * 200, at_once=HEAD + b"Transfer-Encoding: chunked\r\n\r\n", every=0.02), Phase.BODY),
    "body without end": (drip(b"a" * 1000, at_once=HEAD + b"\r\n", every=0.02), Phase.BODY),
    "interim answers": (drip(b"HTTP/1.1 102 Processing\r\n\r\n" * 5, every=0.02), Phase.HEADERS),
}


def test_dripping_peers_are_cut_on_time(courier: Courier) -> None:
    async def at_once(urls: list[str]) -> list[tuple[Outcome, float]]:
        return await asyncio.gather(*(timed(courier, url) for url in urls))

    with ExitStack() as targets:
        peers = [targets.enter_context(LocalTarget(default=behaviour)) for behaviour, _ in DRIPS.values()]
        ended = dict(zip(DRIPS, courier.run(at_once([peer.url for peer in peers])), strict=True))
        courier.until(lambda: not any(peer.open_connections for peer in peers))
    assert {name: outcome.phase for name, (outcome, _) in ended.items()} == {
        name: phase for name, (_, phase) in DRIPS.items()
    }
    for outcome, elapsed in ended.values():
        assert outcome.cls.name == "timeout"
        assert outcome.partial is Partial.LIKELY
        assert elapsed <= TIMEOUT + SLACK


async def timed(courier: Courier, url: str) -> tuple[Outcome, float]:
    began = time.monotonic()
    return await courier.attempt(url, timeout=TIMEOUT), time.monotonic() - began


def test_a_peer_that_never_reads_is_cut_on_time(courier: Courier, target: LocalTarget) -> None:
    target.then(never_read)
    outcome = cut(courier, target.url, body=b"x" * 20_000_000)
    assert outcome.cls.name == "timeout"
    assert outcome.phase is Phase.SENDING
    assert outcome.partial is Partial.POSSIBLE
    assert 0 < outcome.bytes_sent < 20_000_000


def test_a_peer_that_reads_slowly_is_cut_on_time(courier: Courier, target: LocalTarget) -> None:
    def sip(target: LocalTarget, peer: Peer) -> None:
        while not target.closing.wait(0.01):
            peer.read_exactly(1000)

    target.then(sip)
    assert cut(courier, target.url, body=b"x" * 20_000_000).phase is Phase.SENDING


def test_the_second_request_on_a_connection_has_a_deadline_of_its_own(courier: Courier, target: LocalTarget) -> None:
    target.then(answer(), silence, silence)
    assert courier.deliver(target.url, timeout=30).cls.name == "success"
    cut(courier, target.url)
    assert courier.deliver(target.url, timeout=TIMEOUT).cls.name == "timeout"
    assert target.connections == 2


def test_an_early_deadline_does_not_end_a_later_attempt(courier: Courier, target: LocalTarget) -> None:
    target.then(answer(), answer(after=1.2))
    assert courier.deliver(target.url, timeout=1).cls.name == "success"
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 1


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """The port of a listener that lets nobody in: its backlog is full."""
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(8):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


def test_a_connection_that_never_stands_is_cut_on_time(courier: Courier, full_backlog: int) -> None:
    outcome = cut(courier, f"http://127.0.0.1:{full_backlog}/")
    assert outcome.cls.name == "connect_timeout"
    assert outcome.partial is Partial.NO


def test_a_handshake_that_never_ends_is_cut_on_time(courier: Courier, target: LocalTarget) -> None:
    target.then(never_read)
    outcome = cut(courier, target.url.replace("http:", "https:"))
    assert outcome.cls.name == "tls_timeout"
    assert outcome.phase is Phase.TLS
    assert outcome.partial is Partial.NO
    assert outcome.timings.tls is not None
    target.close()
    target.wait_for(lambda: target.open_connections == 0)


def test_a_handshake_that_drips_is_cut_on_time(courier: Courier, target: LocalTarget) -> None:
    def behave(target: LocalTarget, peer: Peer) -> None:
        peer.drip(b"\x16\x03\x03\x40\x00" + bytes(1000), every=0.02)

    target.then(behave)
    assert cut(courier, target.url.replace("http:", "https:")).cls.name == "tls_timeout"
    target.wait_for(lambda: target.open_connections == 0)


def test_a_secure_peer_that_drips_is_cut_on_time(
    courier_with: Callable[..., Courier], certificates: Certificates
) -> None:
    courier = courier_with(tls=certificates.trusting())
    with LocalTarget(default=DRIPS["body"][0], tls=certificates.server("127.0.0.1")) as target:
        assert cut(courier, target.url).cls.name == "timeout"
        target.wait_for(lambda: target.open_connections == 0)


def test_a_secure_peer_that_never_reads_is_cut_on_time(
    courier_with: Callable[..., Courier], certificates: Certificates
) -> None:
    courier = courier_with(tls=certificates.trusting())
    with LocalTarget(default=never_read, tls=certificates.server("127.0.0.1")) as target:
        outcome = cut(courier, target.url, body=b"x" * 20_000_000)
        assert outcome.phase is Phase.SENDING
        assert 0 < outcome.bytes_sent < 20_000_000


def test_a_name_that_never_resolves_is_cut_on_time(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    woken = threading.Event()

    def hang(host: str) -> list[Address]:
        woken.wait(30)
        return []

    courier = courier_with(resolver=Resolver(hang))
    try:
        outcome = cut(courier, f"http://slow.example:{target.port}/")
    finally:
        woken.set()
    assert outcome.cls.name == "dns_failure"
    assert outcome.phase is Phase.DNS
    assert outcome.timings.dns == pytest.approx(TIMEOUT, abs=SLACK)


def test_many_hostile_peers_at_once_are_cut_on_time(courier: Courier) -> None:
    async def all_at_once(url: str) -> list[Outcome]:
        return await asyncio.gather(*(courier.attempt(url, timeout=TIMEOUT) for _ in range(60)))

    with LocalTarget(default=drip(b"a" * 200, at_once=HEAD + b"\r\n")) as target:
        outcomes = courier.run(all_at_once(target.url))
    assert {outcome.error_type for outcome in outcomes} == {"DeadlinePassed"}
    assert courier.elapsed < TIMEOUT + SLACK
