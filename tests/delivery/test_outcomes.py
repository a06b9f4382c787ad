"""Every way a peer can end an attempt, and the class it ends in."""

from __future__ import annotations

import asyncio

import pytest

from taskqueue.core.outcome import Partial, Phase
from tests.delivery.conftest import Courier
from tests.support.target import (
    LocalTarget,
    Peer,
    answer,
    endless,
    hang_up,
    raw,
    refuse_body,
    reset,
    reset_within_request,
    silence,
    speak_first,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        *[(200, "success"), (202, "success"), (204, "success"), (301, "redirect"), (304, "redirect")],
        *[(400, "bad_request"), (404, "not_found"), (410, "gone"), (429, "throttled"), (489, "aborted")],
        *[(500, "server_error"), (502, "bad_gateway"), (503, "unavailable"), (504, "gateway_timeout")],
        *[(599, "gateway_timeout"), (600, "protocol_error"), (999, "protocol_error"), (99, "protocol_error")],
    ],
)
def test_an_answer_is_read_by_its_status(courier: Courier, target: LocalTarget, status: int, cls: str) -> None:
    target.then(raw(f"HTTP/1.1 {status:03} x\r\nContent-Length: 0\r\n\r\n".encode()))
    outcome = courier.deliver(target.url)
    assert outcome.cls.name == cls
    assert outcome.response is None or outcome.response.status == status


def test_what_is_kept_of_an_answer(courier: Courier, target: LocalTarget) -> None:
    target.then(answer(200, b"done", headers=(("X-Result", "caf\xe9"), ("Retry-After", "3"))))
    outcome = courier.deliver(target.url)
    assert outcome.response is not None
    assert outcome.response.body == b"done"
    assert outcome.response.header("x-result") == "caf\xe9"
    assert not outcome.response.truncated
    assert outcome.phase is Phase.BODY
    assert outcome.bytes_received > 4
    timings = outcome.timings
    assert timings.dns is None
    assert timings.tls is None
    assert None not in (timings.connect, timings.send, timings.wait, timings.read)


def test_a_function_that_failed_behind_a_200_is_a_failure(courier: Courier, target: LocalTarget) -> None:
    target.then(answer(200, b'{"errorType": "Boom"}', headers=(("X-Amz-Function-Error", "Unhandled"),)))
    assert courier.deliver(target.url).cls.name == "function_error"


def test_a_redirect_is_not_followed(courier: Courier, target: LocalTarget) -> None:
    with LocalTarget() as elsewhere:
        target.then(answer(302, headers=(("Location", elsewhere.url),)))
        assert courier.deliver(target.url).cls.name == "redirect"
        assert elsewhere.connections == 0


NOT_HTTP = {
    "garbage": b"hello there\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a later version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an older version": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "one length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a length beyond numbers": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a NUL in a header": OK + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a folded header": OK + b"X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a space before the colon": OK + b"X-A : 1\r\nContent-Length: 0\r\n\r\n",
    "a head without end": OK + b"X-A: " + b"a" * 70_000,
    "a head too long, but whole": OK + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n",
    "headers without end": OK + b"X-A: 1\r\n" * 200 + b"\r\n",
    "interim answers without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 20,
    "a chunk size that is none": CHUNKED + b"zz\r\nab\r\n0\r\n\r\n",
    "a chunk size beyond numbers": CHUNKED + b"fffffffffffffffffff\r\nab",
    "a chunk longer than it says": CHUNKED + b"1\r\nabcdef\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_what_is_not_http_is_a_protocol_error(courier: Courier, target: LocalTarget, data: bytes) -> None:
    target.then(raw(data, keep=True))
    outcome = courier.deliver(target.url)
    assert outcome.cls.name == "protocol_error"
    assert outcome.error_message is not None
    assert outcome.error_message.isprintable()


def test_interim_answers_alone_are_a_protocol_error(courier: Courier, target: LocalTarget) -> None:
    target.then(raw(b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert courier.deliver(target.url).error_type == "InterimOnly"


WHOLE = {
    "a length": OK + b"Content-Length: 4\r\n\r\ndone",
    "chunks": CHUNKED + b"1;note=x\r\nd\r\n3\r\none\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "the end of the connection": OK + b"\r\ndone",
    "the end of the connection, of old": b"HTTP/1.0 200 OK\r\n\r\ndone",
    "interim answers first": b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\ndone",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\ndone",
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_each_way_to_end_a_body(courier: Courier, target: LocalTarget, data: bytes) -> None:
    target.then(raw(data))
    outcome = courier.deliver(target.url)
    assert outcome.cls.name == "success"
    assert outcome.response is not None
    assert outcome.response.body == b"done"
    assert outcome.response.header("x-trailer") is None
    assert outcome.response.header("x-early") is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none_whatever_it_says(courier: Courier, target: LocalTarget, status: int) -> None:
    target.then(raw(f"HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n".encode(), keep=True))
    outcome = courier.deliver(target.url)
    assert courier.elapsed < 10, "it waited for a body"
    assert outcome.response is not None
    assert outcome.response.status == status


@pytest.mark.parametrize("head", [b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\na\r\n"])
def test_a_success_cut_short_is_no_success(courier: Courier, target: LocalTarget, head: bytes) -> None:
    target.then(raw(OK + head + b"12345"))
    outcome = courier.deliver(target.url)
    assert outcome.cls.name == "truncated_response"
    assert outcome.partial is Partial.LIKELY
    assert outcome.response is not None
    assert outcome.response.body == b"12345"


def test_a_body_that_ends_with_a_reset_is_cut_short(courier: Courier, target: LocalTarget) -> None:
    def behave(target: LocalTarget, peer: Peer) -> None:
        target.take(peer)
        peer.send(OK + b"\r\nsome")
        target.wait_for(lambda: courier.trace.phase is Phase.BODY)
        peer.reset()

    target.then(behave)
    assert courier.deliver(target.url).cls.name == "truncated_response"


@pytest.mark.parametrize("rest", [b"Content-Length: 10\r\n\r\n123", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_a_refusal_cut_short_is_still_that_refusal(courier: Courier, target: LocalTarget, rest: bytes) -> None:
    target.then(raw(b"HTTP/1.1 404 Not Found\r\n" + rest))
    assert courier.deliver(target.url).cls.name == "not_found"


def test_an_end_without_an_answer(courier: Courier, target: LocalTarget) -> None:
    target.then(hang_up, reset, raw(b"HTTP/1.1 20"))
    for _ in range(3):
        outcome = courier.deliver(target.url)
        assert outcome.cls.name == "no_response"
        assert outcome.partial is Partial.POSSIBLE
        assert outcome.phase >= Phase.SENT
    assert len(target.hits) == 3


def test_a_reset_while_the_request_is_being_sent(courier: Courier, target: LocalTarget) -> None:
    target.then(reset_within_request)
    outcome = courier.deliver(target.url, body=b"x" * 20_000_000)
    assert outcome.cls.name == "send_aborted"
    assert outcome.phase is Phase.SENDING
    assert outcome.partial is Partial.POSSIBLE
    assert outcome.bytes_sent < 20_000_000


def test_an_answer_before_the_body_was_read_wins(courier: Courier, target: LocalTarget) -> None:
    for _ in range(20):
        target.then(refuse_body(413))
        outcome = courier.deliver(target.url, body=b"x" * 5_000_000)
        assert outcome.cls.name == "too_large"
    assert target.connections == 20


def test_who_speaks_first_is_no_http_server(courier: Courier, target: LocalTarget) -> None:
    target.then(speak_first(b"220 mail.example ESMTP\r\n"))
    outcome = courier.deliver(target.url)
    assert outcome.cls.name == "protocol_error"


def test_a_body_is_read_and_kept_to_16_kib(courier: Courier, target: LocalTarget) -> None:
    sizes = (16 * 1024, 16 * 1024 + 1, 2**19)
    target.then(*(answer(200, bytes(size)) for size in sizes))
    for size in sizes:
        outcome = courier.deliver(target.url)
        assert outcome.cls.name == "success"
        assert outcome.response is not None
        assert len(outcome.response.body) == 16 * 1024
        assert outcome.response.truncated == (size > 16 * 1024)
    assert target.connections == 1


def test_a_body_is_kept_whole_where_a_rule_must_read_it(courier: Courier, target: LocalTarget) -> None:
    sizes = (16 * 1024, 16 * 1024 + 1, 2**19, 2**20 - 1024)
    target.then(*(answer(200, bytes(size)) for size in sizes))
    for size in sizes:
        outcome = courier.deliver(target.url, whole=True)
        assert outcome.response is not None
        assert (len(outcome.response.body), outcome.response.truncated) == (size, False)


def test_a_function_tells_why_it_failed_however_long_that_takes(courier: Courier, target: LocalTarget) -> None:
    report = b'{"stackTrace": ["%s"], "errorType": "Runtime.ExitError"}' % (b"x" * 200_000)
    target.then(answer(200, report, headers=(("X-Amz-Function-Error", "Unhandled"),)))
    outcome = courier.deliver(target.url)
    assert (outcome.cls.name, outcome.error_type) == ("function_crashed", "Runtime.ExitError")
    assert outcome.stack == ("x" * 500,)
    assert outcome.response is not None
    assert (len(outcome.response.body), outcome.response.truncated) == (16 * 1024, True)


def test_a_refusal_cut_short_is_not_kept_as_if_it_were_whole(courier: Courier, target: LocalTarget) -> None:
    target.then(raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n{}"))
    outcome = courier.deliver(target.url)
    assert outcome.response is not None
    assert (outcome.response.body, outcome.response.truncated) == (b"{}", True)


ENDLESS = {
    "body": (OK + b"\r\n", b"x" * 65536),
    "stated body": (OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536),
    "chunks": (CHUNKED, b"8000\r\n" + b"x" * 0x8000 + b"\r\n"),
    "chunk extensions": (CHUNKED, b"1;" + b"e" * 4096 + b"\r\nx\r\n"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"X-T: " + b"t" * 4096 + b"\r\n"),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("flood", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_endless_body_is_cut(courier: Courier, target: LocalTarget, flood: tuple[bytes, bytes], whole: bool) -> None:
    target.then(endless(*flood))
    outcome = courier.deliver(target.url, whole=whole)
    assert outcome.cls.name == "success"
    assert outcome.response is not None
    assert outcome.response.truncated
    assert outcome.bytes_received <= (2**20 + 2**18 if whole else 2**20)
    target.wait_for(lambda: target.open_connections == 0)


def test_a_compressed_body_stays_as_it_is(courier: Courier, target: LocalTarget) -> None:
    bomb = b"\x1f\x8b\x08" + bytes(100)
    target.then(answer(200, bomb, headers=(("Content-Encoding", "gzip"),)))
    outcome = courier.deliver(target.url)
    assert outcome.response is not None
    assert outcome.response.body == bomb


def test_steering_headers_are_kept_behind_a_hundred_others(courier: Courier, target: LocalTarget) -> None:
    many = tuple((f"X-{number}", "y" * 300) for number in range(100))
    target.then(answer(404, headers=(*many, ("Taskqueue-Control", "retry"))))
    outcome = courier.deliver(target.url)
    assert outcome.forced_retry
    assert outcome.response is not None
    assert len(outcome.response.headers) < 50
    assert sum(len(name) + len(value) for name, value in outcome.response.headers) < 9000


STEERING = {
    "Retry-After": "7",
    "retry-after-ms": "7000",
    "X-RateLimit-Reset": "60",
    "X-RateLimit-Remaining": "0",
    "RateLimit-Reset": "60",
    "RateLimit-Remaining": "0",
    "x-amzn-ErrorType": "TooManyRequestsException",
    "X-Amz-Function-Error": "Unhandled",
    "x-amzn-RequestId": "3a1b4f0c",
    "Content-Encoding": "gzip",
}


def test_every_header_that_decides_is_kept_and_those_that_a_rule_reads(courier: Courier, target: LocalTarget) -> None:
    many = tuple((f"X-{number}", "y" * 300) for number in range(100))
    target.then(answer(200, headers=(*many, *STEERING.items(), ("X-State", "busy"), ("X-Other", "z" * 300))))
    outcome = courier.deliver(target.url, headers_read=frozenset({"x-state"}))
    assert outcome.response is not None
    for name, value in STEERING.items():
        assert outcome.response.header(name.lower()) == value
    assert outcome.response.header("x-state") == "busy"
    assert outcome.response.header("x-other") is None


def test_values_are_stored_without_control_characters(courier: Courier, target: LocalTarget) -> None:
    target.then(raw(OK + b"X-A: a\x85b\x9fc\r\nContent-Length: 0\r\n\r\n"))
    outcome = courier.deliver(target.url)
    assert outcome.response is not None
    assert outcome.response.header("x-a") == "a b c"


def test_nobody_listening_is_a_refusal(courier: Courier, target: LocalTarget) -> None:
    target.close()
    outcome = courier.deliver(target.url)
    assert outcome.cls.name == "connect_refused"
    assert outcome.partial is Partial.NO
    assert outcome.bytes_sent == 0


def test_an_attempt_called_off_is_cut_off_at_once(courier: Courier, target: LocalTarget) -> None:
    target.default = silence

    async def call_off() -> None:
        attempt = asyncio.create_task(courier.attempt(target.url, timeout=60))
        while courier.trace.phase < Phase.SENT:
            await asyncio.sleep(0.005)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt

    courier.run(call_off())
    target.wait_for(lambda: target.open_connections == 0)
    assert courier.trace.phase is Phase.SENT
    assert courier.trace.bytes_sent > 0
    target.default = answer()
    assert courier.deliver(target.url).cls.name == "success"
    assert target.connections == 2


def test_bytes_in_the_pipe_die_with_the_attempt(courier: Courier) -> None:
    """Cut off means cut off: a request that the system still holds must not reach the target later."""
    arrived: list[bytes] = []

    def read_late(target: LocalTarget, peer: Peer) -> None:
        target.wait_for(lambda: courier.elapsed > 0)
        arrived.append(peer.wait_until_gone())

    with LocalTarget(default=read_late) as target:
        outcome = courier.deliver(target.url, body=b"x" * 20_000_000, timeout=0.5)
        courier.wait()
        target.wait_for(lambda: target.open_connections == 0)
    assert outcome.cls.name == "timeout"
    assert len(arrived[0]) < outcome.bytes_sent
