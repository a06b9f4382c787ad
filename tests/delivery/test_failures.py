"""Faults of this machine and of this code are outcomes too, and texts are fit to store."""

from __future__ import annotations

import errno
import resource
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from taskqueue.core.outcome import CLASSES, Outcome, Partial, Phase
from taskqueue.delivery.failure import closed_by_peer, not_connected, not_secured, surprise, too_late
from taskqueue.delivery.trace import Trace
from tests.delivery.conftest import Courier
from tests.support.target import LocalTarget


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file or socket beyond those it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_out_of_files_is_our_own_fault(courier: Courier, target: LocalTarget) -> None:
    async def attempt() -> Outcome:
        with no_more_files():
            return await courier.attempt(target.url)

    outcome = courier.run(attempt())
    assert outcome.cls.name == "local_resource"
    assert outcome.partial is Partial.NO
    assert courier.deliver(target.url).cls.name == "success"


@pytest.mark.parametrize(
    ("mistake", "cls"),
    [({"headers": (("X-A", None), (None, "secret"))}, "local_resource"), ({"body": "secret"}, "protocol_error")],
    ids=["before sending", "while sending"],
)
def test_a_fault_of_our_own_is_an_outcome(
    courier: Courier, target: LocalTarget, mistake: dict[str, Any], cls: str
) -> None:
    outcome = courier.deliver(target.url, **mistake)
    assert outcome.cls.name == cls
    assert outcome.error_type == type(courier.trace.surprise).__name__
    assert "secret" not in str(outcome.error_message)
    courier.wait()
    target.wait_for(lambda: target.open_connections == 0)
    assert courier.deliver(target.url).cls.name == "success"


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ECONNREFUSED, "connect_refused"),
        (errno.ENETUNREACH, "connect_unreachable"),
        (errno.EHOSTUNREACH, "connect_unreachable"),
        (errno.ECONNRESET, "connect_unreachable"),
        (errno.EACCES, "connect_unreachable"),
        (errno.ETIMEDOUT, "connect_timeout"),
        (errno.EMFILE, "local_resource"),
        (errno.ENFILE, "local_resource"),
        (errno.ENOMEM, "local_resource"),
        (errno.EADDRNOTAVAIL, "local_resource"),
    ],
)
def test_why_a_connection_failed(number: int, cls: str) -> None:
    failure = not_connected(OSError(number, "to 10.1.2.3 port 80"))
    assert failure.cls == cls
    assert "10.1.2.3" not in failure.message


def test_why_a_handshake_failed() -> None:
    assert not_secured(ConnectionResetError()).cls == "tls_handshake"
    assert not_secured(ssl.SSLError("odd")).cls == "tls_handshake"


@pytest.mark.parametrize("phase", Phase)
def test_each_phase_has_a_class_for_every_end(phase: Phase) -> None:
    for failure in (too_late(phase, 1.5), closed_by_peer(phase, None), surprise(phase, ValueError("x"))):
        assert failure.cls in CLASSES
    before = phase < Phase.SENDING
    assert (too_late(phase, 1.5).cls == "timeout") == (not before)
    assert surprise(phase, ValueError("x")).cls == ("local_resource" if before else "protocol_error")


def test_time_in_each_phase_adds_up() -> None:
    trace = Trace()
    for phase in (Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.SENDING, Phase.SENT, Phase.HEADERS, Phase.BODY):
        trace.enter(phase)
    timings = trace.timings()
    assert all(
        span is not None and 0 <= span < 20 for span in (timings.dns, timings.connect, timings.tls, timings.wait)
    )
    assert Trace().timings().dns is None
