"""Idle connections: used again only while they are sound, and never for a second try of the same request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from taskqueue.core.outcome import Outcome, Partial, Phase
from taskqueue.delivery.trace import Trace
from tests.delivery.conftest import Courier, request
from tests.support.target import LocalTarget, Peer, PeerGone, answer, raw

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


def test_a_connection_is_used_again(courier: Courier, target: LocalTarget) -> None:
    for _ in range(5):
        assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 1
    assert [hit.connection for hit in target.hits] == [1] * 5


def test_a_reused_connection_costs_no_connect(courier: Courier, target: LocalTarget) -> None:
    assert courier.deliver(target.url).timings.connect is not None
    assert courier.deliver(target.url).timings.connect is None


UNFIT = {
    "close was announced": OK + b"Connection: close\r\n\r\nhi",
    "the version is old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "bytes came after the end": OK + b"\r\nhi" + b"more",
    "a second answer came": (OK + b"\r\nhi") * 2,
}


@pytest.mark.parametrize("data", UNFIT.values(), ids=UNFIT.keys())
def test_a_doubtful_connection_is_not_used_again(courier: Courier, target: LocalTarget, data: bytes) -> None:
    target.then(raw(data, keep=True))
    first = courier.deliver(target.url)
    assert first.response is not None
    assert first.response.body == b"hi"
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 2


def test_a_connection_closed_by_the_peer_is_not_used_again(courier: Courier, target: LocalTarget) -> None:
    target.then(raw(OK + b"\r\nhi"))
    courier.deliver(target.url)
    target.wait_for(lambda: target.open_connections == 0)
    # The event loop has not run since: only a look at the socket itself can tell.
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 2


def test_a_connection_reset_by_the_peer_is_not_used_again(courier: Courier, target: LocalTarget) -> None:
    def answer_and_reset(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        peer.send(OK + b"\r\nhi")
        target.wait_for(lambda: courier.elapsed > 0)
        peer.reset()
        raise PeerGone

    target.then(answer_and_reset)
    courier.deliver(target.url)
    target.wait_for(lambda: target.open_connections == 0)
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 2


def test_many_attempts_at_once_get_their_own_answers(courier: Courier, target: LocalTarget) -> None:
    def echo(target: LocalTarget, peer: Peer) -> None:
        body = target.take(peer).body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def ask(number: int) -> bool:
        told = []
        for turn in range(5):
            body = f"{number}/{turn}".encode() * 50
            outcome = await courier.attempt(target.url, body=body)
            told.append(outcome.response is not None and outcome.response.body == body)
        return all(told)

    async def ask_all() -> list[bool]:
        return await asyncio.gather(*map(ask, range(40)))

    target.default = echo
    assert all(courier.run(ask_all()))
    assert len(target.hits) == 200
    assert target.connections <= 40


def test_an_idle_connection_on_which_the_peer_speaks_is_dropped(courier: Courier, target: LocalTarget) -> None:
    def behave(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        peer.send(OK + b"\r\nhi")
        time.sleep(0.05)
        peer.send(OK + b"\r\nno")
        peer.wait_until_gone()
        raise PeerGone

    target.then(behave)
    courier.deliver(target.url)
    courier.until(lambda: target.open_connections == 0)
    second = courier.deliver(target.url)
    assert second.response is not None
    assert second.response.body == b""


def test_a_request_is_never_sent_again_by_itself(courier: Courier, target: LocalTarget) -> None:
    """The connection dies just as the second request goes out: that attempt is over, though nobody knows how."""

    def take_and_die(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        peer.reset()
        raise PeerGone

    target.then(answer(), take_and_die)
    courier.deliver(target.url, method="GET", body=None)
    second = courier.deliver(target.url, method="GET", body=None)
    assert second.cls.name == "no_response"
    assert second.partial is Partial.POSSIBLE
    assert len(target.hits) == 2
    assert target.connections == 1


def test_idle_connections_are_closed_after_a_while(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(idle_for=timedelta(seconds=0.1))
    courier.deliver(target.url)
    assert target.open_connections == 1
    courier.until(lambda: target.open_connections == 0)
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 2


def test_each_idle_connection_has_its_own_while(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(idle_for=timedelta(seconds=0.3))
    with LocalTarget() as other:
        courier.deliver(target.url)
        courier.wait(0.2)
        courier.deliver(other.url)
        idle_from = time.monotonic()
        courier.until(lambda: target.open_connections == 0)
        assert other.open_connections == 1 or time.monotonic() - idle_from > 0.29
        courier.until(lambda: other.open_connections == 0)
        assert time.monotonic() - idle_from > 0.29


def test_a_deadline_that_finds_the_connection_idle_does_nothing(courier: Courier, target: LocalTarget) -> None:
    assert courier.deliver(target.url, timeout=0.8).cls.name == "success"
    courier.wait(0.9)
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 1


def test_a_connection_idle_for_too_long_is_not_used(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(idle_for=timedelta(seconds=0.05))
    courier.deliver(target.url)
    time.sleep(0.1)  # the loop sleeps too, and with it the sweep
    courier.deliver(target.url)
    assert target.connections == 2


def many_at_once(courier: Courier, urls: list[str]) -> list[Outcome]:
    async def gather() -> list[Outcome]:
        return await asyncio.gather(*(courier.attempt(url) for url in urls))

    return courier.run(gather())


def test_idle_connections_are_bounded_per_origin(courier_with: Callable[..., Courier]) -> None:
    courier = courier_with(max_idle_per_origin=2)
    with LocalTarget(default=answer(after=0.05)) as one, LocalTarget(default=answer(after=0.05)) as other:
        outcomes = many_at_once(courier, [one.url] * 5 + [other.url])
        assert {outcome.cls.name for outcome in outcomes} == {"success"}
        courier.until(lambda: one.open_connections == 2)
        assert other.open_connections == 1


def test_idle_connections_are_bounded_in_all(courier_with: Callable[..., Courier]) -> None:
    courier = courier_with(max_idle=3)
    with LocalTarget(default=answer(after=0.05)) as one, LocalTarget(default=answer(after=0.05)) as other:
        many_at_once(courier, [one.url] * 4 + [other.url] * 4)
        courier.until(lambda: one.open_connections + other.open_connections == 3)


def test_a_closed_transport_leaves_no_connection(courier: Courier, target: LocalTarget) -> None:
    courier.deliver(target.url)
    courier.run(courier.transport.close())
    target.wait_for(lambda: target.open_connections == 0)


def test_two_schemes_do_not_share_connections(courier: Courier, target: LocalTarget) -> None:
    assert courier.deliver(target.url).cls.name == "success"
    outcome = courier.deliver(target.url.replace("http:", "https:"), timeout=0.5)
    assert outcome.cls.name == "tls_timeout"
    assert target.connections == 2


class Forbidding(Trace):
    """Lets nothing be sent, as a worker's does whose lease has lapsed."""

    __slots__ = ()

    def enter(self, phase: Phase) -> None:
        if phase is Phase.SENDING:
            raise asyncio.CancelledError
        super().enter(phase)


@pytest.mark.parametrize("reused", [False, True])
def test_a_connection_on_which_nothing_may_be_sent_is_closed(
    courier: Courier, target: LocalTarget, reused: bool
) -> None:
    if reused:
        courier.deliver(target.url)
    hits, trace = len(target.hits), Forbidding()

    async def attempt() -> None:
        with pytest.raises(asyncio.CancelledError):
            await courier.transport.deliver(request(target.url), trace)
        await asyncio.sleep(0.02)

    courier.run(attempt())
    target.wait_for(lambda: (target.connections, target.open_connections) == (1, 0))
    assert (trace.bytes_sent, len(target.hits)) == (0, hits)
