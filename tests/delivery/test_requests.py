"""What goes over the wire."""

from __future__ import annotations

import pytest

from taskqueue.delivery.failure import AttemptFailed
from taskqueue.delivery.request import encode_head
from tests.delivery.conftest import Courier, request
from tests.support.target import LocalTarget


def test_the_target_receives_the_very_bytes(courier: Courier, target: LocalTarget) -> None:
    body = bytes(range(256)) * 3
    outcome = courier.deliver(f"{target.origin}/a/b?c=%20d", body=body, headers=(("X-Own", "kept as it is"),))
    (hit,) = target.hits
    assert outcome.cls.name == "success"
    assert (hit.method, hit.path, hit.body) == ("POST", "/a/b?c=%20d", body)
    assert hit.header("X-Own") == "kept as it is"
    assert hit.header("Host") == f"127.0.0.1:{target.port}"
    assert hit.header("Accept-Encoding") == "identity"
    assert hit.header("Content-Length") == "768"


def test_a_body_of_megabytes_arrives_whole(courier: Courier, target: LocalTarget) -> None:
    body = bytes(range(256)) * 20_000
    outcome = courier.deliver(target.url, body=body)
    assert outcome.cls.name == "success"
    assert target.hits[0].body == body
    assert outcome.bytes_sent > len(body)


def test_the_environment_names_no_proxy(courier: Courier, target: LocalTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalTarget() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.setenv("http_proxy", proxy.origin)
        assert courier.deliver(target.url).cls.name == "success"
        assert proxy.connections == 0


def test_no_header_is_sent_twice_and_the_first_wins(courier: Courier, target: LocalTarget) -> None:
    given = (("content-type", "text/plain"), ("Content-Type", "application/json"), ("ACCEPT", "text/html"))
    courier.deliver(target.url, headers=given)
    names = [name.lower() for name, _ in target.hits[0].headers]
    assert len(names) == len(set(names))
    assert target.hits[0].header("Content-Type") == "text/plain"
    assert target.hits[0].header("Accept") == "text/html"


def test_headers_that_frame_the_request_are_ours_alone() -> None:
    given = (("Host", "evil"), ("content-length", "1"), ("Transfer-Encoding", "chunked"), ("Expect", "100-continue"))
    head = encode_head(request("http://a.example/", headers=given)).decode()
    assert head == (
        "POST / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: identity\r\nAccept: */*\r\nContent-Length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("GET", None, None), ("DELETE", None, None), ("POST", None, "0"), ("PUT", b"", "0"), ("PATCH", b"ab", "2")],
)
def test_a_length_is_stated_where_a_body_is_expected(
    courier: Courier, target: LocalTarget, method: str, body: bytes | None, length: str | None
) -> None:
    assert courier.deliver(target.url, method=method, body=body).cls.name == "success"
    assert target.hits[0].header("Content-Length") == length


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "é", "\ud800", "a\x7f"])
def test_a_header_cannot_smuggle_another(value: str) -> None:
    with pytest.raises(AttemptFailed) as refused:
        encode_head(request("http://a.example/", headers=(("X-A", value),)))
    assert refused.value.cls == "bad_request"


def test_a_request_that_cannot_be_sent_is_an_outcome(courier: Courier, target: LocalTarget) -> None:
    outcome = courier.deliver(target.url, headers=(("X-A", "1\r\n"),))
    assert outcome.cls.name == "bad_request"
    assert (outcome.bytes_sent, target.connections) == (0, 0)
