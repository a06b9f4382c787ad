"""TLS: names and certificates are checked, and what fails is told apart."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import trustme

from taskqueue.core.outcome import Partial
from taskqueue.core.target import Address
from taskqueue.delivery.resolver import Resolver
from taskqueue.delivery.tls import tls_context
from tests.delivery.conftest import Certificates, Courier
from tests.support.target import (
    Behaviour,
    LocalTarget,
    Peer,
    PeerGone,
    answer,
    hang_up,
    raw,
    refuse_body,
    reset,
    speak_first,
)


@pytest.fixture
def secure(courier_with: Callable[..., Courier], certificates: Certificates) -> Courier:
    """Trusts the tests' authority; every name is this machine."""

    def lookup(host: str) -> list[Address]:
        return [ip_address("127.0.0.1")]

    return courier_with(tls=certificates.trusting(), resolver=Resolver(lookup))


def test_a_trusted_target_is_called_by_its_name(secure: Courier, certificates: Certificates) -> None:
    seen: list[str | None] = []
    tls = certificates.server("good.example")
    tls.sni_callback = lambda _, name, __: seen.append(name)
    with LocalTarget(tls=tls) as target:
        for _ in range(3):
            outcome = secure.deliver(f"https://good.example:{target.port}/", body=b"x" * 200_000)
            assert outcome.cls.name == "success"
        assert target.connections == 1
        assert target.hits[0].header("Host") == f"good.example:{target.port}"
        assert target.hits[0].body == b"x" * 200_000
    assert seen == ["good.example"]


def test_a_trusted_address_is_called(secure: Courier, certificates: Certificates) -> None:
    with LocalTarget(tls=certificates.server("127.0.0.1")) as target:
        outcome = secure.deliver(target.url)
    assert outcome.cls.name == "success"
    assert outcome.timings.tls is not None


def assert_refused(courier: Courier, tls: ssl.SSLContext) -> None:
    with LocalTarget(tls=tls) as target:
        outcome = courier.deliver(f"https://good.example:{target.port}/")
        assert outcome.cls.name == "tls_certificate"
        assert outcome.partial is Partial.NO
        assert "127.0.0.1" not in str(outcome.error_message)
        assert target.hits == []


def test_a_certificate_for_another_name_is_refused(secure: Courier, certificates: Certificates) -> None:
    assert_refused(secure, certificates.server("other.example"))


def test_an_expired_certificate_is_refused(secure: Courier, certificates: Certificates) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert_refused(secure, certificates.server("good.example", not_after=yesterday))


def test_a_certificate_of_an_unknown_authority_is_refused(secure: Courier) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("good.example").configure_cert(context)
    assert_refused(secure, context)


def test_the_system_does_not_trust_just_anybody(courier: Courier, certificates: Certificates) -> None:
    with LocalTarget(tls=certificates.server("127.0.0.1")) as target:
        assert courier.deliver(target.url).cls.name == "tls_certificate"


@pytest.mark.parametrize(
    "behaviour",
    [speak_first(b"HTTP/1.1 400 Bad Request\r\n\r\n"), speak_first(b"\x15\x03\x03\x00\x02\x02\x28")],
    ids=["plain http", "an alert"],
)
def test_a_handshake_that_fails(courier: Courier, target: LocalTarget, behaviour: Behaviour) -> None:
    target.default = behaviour
    outcome = courier.deliver(target.url.replace("http:", "https:"))
    assert outcome.cls.name == "tls_handshake"
    assert outcome.partial is Partial.NO


def test_a_peer_that_leaves_during_the_handshake(courier: Courier, target: LocalTarget) -> None:
    def listen_and_leave(target: LocalTarget, peer: Peer) -> None:
        peer.read_exactly(100)
        raise PeerGone

    target.then(listen_and_leave)
    assert courier.deliver(target.url.replace("http:", "https:")).cls.name == "tls_handshake"


def test_an_old_protocol_is_refused(secure: Courier, certificates: Certificates) -> None:
    tls = certificates.server("good.example")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with LocalTarget(tls=tls) as target:
        assert secure.deliver(f"https://good.example:{target.port}/").cls.name == "tls_handshake"


@pytest.mark.parametrize(
    ("behaviour", "cls"),
    [
        (answer(404), "not_found"),
        (hang_up, "no_response"),
        (reset, "no_response"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\nto the end"), "success"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot"), "truncated_response"),
        (raw(b"nonsense\r\n\r\n"), "protocol_error"),
    ],
)
def test_outcomes_are_the_same_over_tls(
    secure: Courier, certificates: Certificates, behaviour: Behaviour, cls: str
) -> None:
    with LocalTarget(tls=certificates.server("127.0.0.1"), default=behaviour) as target:
        assert secure.deliver(target.url).cls.name == cls


def test_an_early_answer_and_a_reset_over_tls(secure: Courier, certificates: Certificates) -> None:
    with LocalTarget(tls=certificates.server("127.0.0.1"), default=refuse_body(413)) as target:
        outcome = secure.deliver(target.url, body=b"x" * 20_000_000)
    # The reset that follows may overtake the answer inside the TLS layer; it is no surprise in either case.
    assert outcome.cls.name in ("too_large", "send_aborted", "no_response")


def test_session_keys_are_written_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/nonexistent/keys")
    assert tls_context().keylog_filename is None
