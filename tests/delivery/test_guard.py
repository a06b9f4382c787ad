"""No byte goes to a forbidden address: not by spelling, not by name, not by a name that changes its mind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import ip_address

import pytest

from taskqueue.core.errors import ForbiddenTarget
from taskqueue.core.outcome import Partial
from taskqueue.core.target import Address, parse_target
from taskqueue.delivery.guard import check_peer
from taskqueue.delivery.resolver import Resolver
from tests.delivery.conftest import Courier
from tests.support.target import LocalTarget, hang_up


def resolver(*answers: Sequence[str]) -> Resolver:
    """Gives one answer after the other, then the last for ever; nothing is remembered in between."""
    left = [[ip_address(text) for text in answer] for answer in answers]

    def lookup(host: str) -> list[Address]:
        return left.pop(0) if len(left) > 1 else left[0]

    return Resolver(lookup, fresh_for=timedelta(0))


def assert_forbidden(courier: Courier, url: str, address: str) -> None:
    outcome = courier.deliver(url)
    assert outcome.cls.name == "target_forbidden"
    assert outcome.partial is Partial.NO
    assert (outcome.bytes_sent, outcome.bytes_received) == (0, 0)
    assert courier.trace.forbidden is not None
    assert courier.trace.forbidden.address == address


def test_a_forbidden_literal_is_not_called(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(allowed="")
    assert_forbidden(courier, target.url, "127.0.0.1")
    assert_forbidden(courier, f"http://[::ffff:127.0.0.1]:{target.port}/", str(ip_address("::ffff:127.0.0.1")))
    courier.wait()
    assert target.connections == 0


def test_a_name_of_a_forbidden_address_is_not_called(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(allowed="10.0.0.0/8", resolver=resolver(["127.0.0.1"]))
    assert_forbidden(courier, f"http://innocent.example:{target.port}/", "127.0.0.1")
    courier.wait()
    assert target.connections == 0


def test_the_caller_does_not_learn_the_address(courier_with: Callable[..., Courier]) -> None:
    courier = courier_with(allowed="", resolver=resolver(["10.20.30.40"]))
    outcome = courier.deliver("http://inside.example/")
    assert "10.20.30.40" not in repr(outcome)
    assert "inside.example" in str(outcome.error_message)


def test_one_bad_address_spoils_the_answer(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(resolver=resolver(["127.0.0.1", "169.254.169.254"]))
    assert_forbidden(courier, f"http://mixed.example:{target.port}/", "169.254.169.254")
    courier.wait()
    assert target.connections == 0


def test_a_name_is_judged_anew_on_each_attempt(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    """A rebinding name: harmless at first, forbidden once a kept-alive connection stands ready."""
    courier = courier_with(resolver=resolver(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"]))
    url = f"http://rebinding.example:{target.port}/"
    assert courier.deliver(url).cls.name == "success"
    assert courier.deliver(url).cls.name == "success"
    assert target.connections == 1
    assert_forbidden(courier, url, "10.0.0.1")
    assert len(target.hits) == 2


def test_a_connection_to_an_address_the_name_has_left_is_not_used(courier_with: Callable[..., Courier]) -> None:
    courier = courier_with(resolver=resolver(["::1"], ["127.0.0.1"]))
    with LocalTarget() as target:
        url = f"http://moving.example:{target.port}/"
        assert courier.deliver(url).cls.name == "connect_refused"
        assert courier.deliver(url).cls.name == "success"


def test_only_the_address_that_was_judged_may_be_at_the_other_end() -> None:
    target, judged = parse_target("http://one.example/"), ip_address("192.0.2.1")
    check_peer(target, judged, judged)
    with pytest.raises(ForbiddenTarget) as refused:
        check_peer(target, judged, ip_address("192.0.2.2"))
    assert refused.value.address == "192.0.2.2"


def test_the_name_stays_in_the_host_header(courier_with: Callable[..., Courier], target: LocalTarget) -> None:
    courier = courier_with(resolver=resolver(["127.0.0.1"]))
    courier.deliver(f"http://Named.Example:{target.port}/")
    assert target.hits[0].header("Host") == f"named.example:{target.port}"


def test_the_next_address_is_tried_when_one_does_not_connect(
    courier_with: Callable[..., Courier], target: LocalTarget
) -> None:
    courier = courier_with(resolver=resolver(["::1", "127.0.0.1"]))
    outcome = courier.deliver(f"http://two.example:{target.port}/")
    assert outcome.cls.name == "success"
    assert outcome.timings.dns is not None
    assert len(target.hits) == 1


def test_the_next_address_is_not_tried_once_something_was_sent(courier_with: Callable[..., Courier]) -> None:
    courier = courier_with(resolver=resolver(["127.0.0.1", "::1"]))
    with LocalTarget(default=hang_up) as target:
        outcome = courier.deliver(f"http://two.example:{target.port}/")
    assert outcome.cls.name == "no_response"
    assert len(target.hits) == 1


@pytest.mark.parametrize(
    ("allowed", "cls"),
    [
        ("billing.internal", "success"),
        ("billing.internal:{port}", "success"),
        ("127.0.0.0/8", "success"),
        ("127.0.0.1:{port}", "success"),
        ("billing.internal:1", "target_forbidden"),
        ("127.0.0.1:1", "target_forbidden"),
        ("other.internal", "target_forbidden"),
    ],
)
def test_what_an_operator_allows(
    courier_with: Callable[..., Courier], target: LocalTarget, allowed: str, cls: str
) -> None:
    courier = courier_with(allowed=allowed.format(port=target.port), resolver=resolver(["127.0.0.1"]))
    assert courier.deliver(f"http://billing.internal:{target.port}/").cls.name == cls
    assert target.connections == (cls == "success")


def test_ipv6_is_called_as_well(courier: Courier) -> None:
    with LocalTarget(host="::1") as target:
        assert courier.deliver(target.url).cls.name == "success"
        assert target.hits[0].header("Host") == f"[::1]:{target.port}"
