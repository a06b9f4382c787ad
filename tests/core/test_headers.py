"""Which request headers a task may bring along."""

from __future__ import annotations

import pytest

from taskqueue.core.errors import InvalidTask
from taskqueue.core.headers import MAX_HEADERS, check_headers


def test_ordinary_headers_pass() -> None:
    check_headers(
        {"Authorization": "Bearer x", "X-Tab": "a\tb", "Content-Type": "text/plain", "x_y.z~": "", "Cookie": "a=b"}
    )
    check_headers([("Idempotency-Key", "mine"), ("traceparent", "00-1-2-01")])


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "keep-alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Host", "CONTENT-LENGTH"),
        *("Expect", "Accept-Encoding", "Proxy-Authorization", "Proxy-Connection", "Taskqueue-Task-Id"),
        *("webhook-id", "Webhook-Signature"),
    ],
)
def test_headers_of_the_connection_and_of_the_service_are_refused(name: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        check_headers({name: "x"}, "/headers")
    assert refused.value.pointer == f"/headers/{name}"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é", "a\0", "(x)", "a" * 257, '"a"'])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(InvalidTask):
        check_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nb", "\0", "é", "\x7f", "a" * 8193, " a", "a\t"])
def test_a_value_is_visible_text(value: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        check_headers({"X-A": value})
    assert refused.value.pointer == "/headers/X-A"
    assert refused.value.detail.startswith("a header value ")


def test_a_header_is_given_once() -> None:
    with pytest.raises(InvalidTask, match="twice"):
        check_headers({"X-A": "1", "x-a": "2"})


def test_headers_are_counted() -> None:
    many = {f"X-{number}": "x" for number in range(MAX_HEADERS)}
    check_headers(many)
    with pytest.raises(InvalidTask, match="at most 50") as refused:
        check_headers({**many, "X-One-More": "x"})
    assert refused.value.pointer == "/headers"


def test_the_pointer_is_escaped_and_short() -> None:
    with pytest.raises(InvalidTask) as refused:
        check_headers({"a/b~c\ud800\n" + "d" * 100: "x"})
    assert refused.value.pointer == "/headers/a~1b~0c\\ud800\\n" + "d" * 57
