"""Reading an answer does not depend on how the bytes are cut up, and ends in a verdict whatever the bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.outcome import KEPT_BODY, Response
from taskqueue.delivery.answer import ERROR_KEPT, HEAD_CAP, READ_CAP, Answer
from taskqueue.delivery.failure import AttemptFailed
from tests.delivery.test_outcomes import NOT_HTTP, WHOLE

Verdict = tuple[str, Response | None]


def read(pieces: list[bytes]) -> Verdict:
    """What a connection would make of ``pieces``, followed by the end of the connection."""
    answer = Answer()
    try:
        for piece in pieces:
            if answer.feed(piece):
                break
    except AttemptFailed as error:
        return error.cls, None
    answer.end(orderly=True)
    answer.close()
    return ("complete" if answer.complete else "cut"), answer.response() if answer.head_complete else None


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.sampled_from([*WHOLE.values(), *NOT_HTTP.values()]), st.lists(st.integers(0, 100_000), max_size=20))
def test_the_verdict_does_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    assert read(pieces_of(data, cuts)) == read([data])


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_may_come_byte_by_byte(data: bytes) -> None:
    verdict, response = read([bytes([byte]) for byte in data])
    assert verdict == "complete"
    assert response is not None
    assert response.body == b"done"


FRAGMENTS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 404 x\r\n", b"\r\n", b"\n", b"\0"),
        *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"\r\n\r\n"),
        *(b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"X: " + b"y" * 5000, b"Upgrade: h2c\r\n"),
    ]
)


@given(st.lists(FRAGMENTS | st.binary(max_size=20), max_size=30))
def test_no_bytes_raise_anything_but_a_verdict(pieces: list[bytes]) -> None:
    verdict, response = read(pieces)
    assert verdict in ("complete", "cut", "protocol_error")
    if response is not None:
        assert 200 <= response.status <= 599
        assert len(response.body) <= KEPT_BODY
        assert all(name == name.lower() and value.isprintable() for name, value in response.headers)


@pytest.mark.parametrize(
    ("count", "length", "verdict"),
    [
        *[(127, 10, "complete"), (128, 10, "protocol_error"), (500, 10, "protocol_error")],
        *[(1, HEAD_CAP - 200, "complete"), (1, HEAD_CAP, "protocol_error"), (60, HEAD_CAP // 60, "protocol_error")],
    ],
)
def test_a_head_is_bounded_in_number_and_length(count: int, length: int, verdict: str) -> None:
    line = b"X-A: " + b"v" * length + b"\r\n"
    assert read([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + line * count + b"\r\n"])[0] == verdict


def test_what_comes_behind_an_answer_does_not_change_it() -> None:
    answer = Answer()
    assert answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 500 Oops\r\nX-A: 1\r\n\r\nmore")
    assert answer.response() == Response(status=200, headers=(("content-length", "2"),), body=b"hi")
    assert not answer.reusable


def test_little_is_held_of_a_body_in_crumbs() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    crumbs = b"1\r\nx\r\n" * 1000
    fed = 0
    while not answer.feed(crumbs):
        fed += len(crumbs)
    assert fed <= READ_CAP
    assert answer.response().body == b"x" * KEPT_BODY
    assert answer.cut


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


def kept(answer: Answer, *pieces: bytes) -> Response:
    for piece in (HEAD, *pieces):
        answer.feed(piece)
    answer.close()
    return answer.response()


def test_a_body_that_is_wanted_whole_is_kept_whole() -> None:
    response = kept(Answer(whole=True), b"x" * 60_000, b"y" * 40_000)
    assert response.body == b"x" * 60_000 + b"y" * 40_000
    assert not response.truncated


def test_a_body_that_need_not_be_whole_is_kept_as_far_as_it_goes_on_record() -> None:
    response = kept(Answer(), b"x" * 10_000, b"y" * 90_000)
    assert response.body == b"x" * 10_000 + b"y" * (KEPT_BODY - 10_000)
    assert response.truncated


def test_what_tells_why_a_function_failed_is_kept_further() -> None:
    answer = Answer()
    size = ERROR_KEPT + 1000
    answer.feed(b"HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\nContent-Length: %d\r\n\r\n" % size)
    answer.feed(b"x" * size)
    assert len(answer.response().body) == ERROR_KEPT
    assert answer.response().truncated
