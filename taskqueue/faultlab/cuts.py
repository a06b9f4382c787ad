"""Plays that end on the connection: cut, dripped, endless or malformed, and never a whole answer."""

from __future__ import annotations

from collections.abc import Iterator

from taskqueue.faultlab.stage import Performance, Play, Stage
from taskqueue.faultlab.wire import PeerGone

_OK = b"HTTP/1.1 200 OK\r\n"
_LONG = _OK + b"Content-Type: text/plain\r\nContent-Length: 1000000000\r\n\r\n"
_CHUNKED = _OK + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
_DRIP = 0.2


def cuts() -> Iterator[tuple[str, Play]]:
    # Each class under its own name first, then other ways to the same class.
    yield "send_aborted", Play("send_aborted", "resets while the body is still being sent", _reset, unread=True)
    yield "no_response", Play("no_response", "resets once the whole request is there", _reset)
    yield "hang_up", Play("no_response", "closes once the whole request is there", _hang_up)
    yield "cut_head", Play("no_response", "closes within the head of its answer", _sent(_OK + b"Content-Ty"))
    yield "timeout", Play("timeout", "takes the request and never answers", _never)
    yield "drip_head", Play("timeout", "sends the head of its answer byte by byte, without an end", _drip_head)
    yield "drip_body", Play("timeout", "sends the body of its answer byte by byte, without an end", _drip_body)
    yield "truncated_response", Play("truncated_response", "closes within the body of a 200", _sent(_LONG + b"half"))
    yield "cut_chunks", Play("truncated_response", "closes within a chunk", _sent(_CHUNKED + b"ff\r\nhalf"))
    yield "protocol_error", Play("protocol_error", "answers with what is no HTTP", _sent(b"220 mail.example ESMTP\r\n"))
    yield "interim_only", Play("protocol_error", "answers 102 and closes", _sent(b"HTTP/1.1 102 Processing\r\n\r\n"))
    yield "odd_status", Play("protocol_error", "answers 999", _sent(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"))
    yield "endless_head", Play("protocol_error", "answers with headers without an end", _endless_head)
    yield "endless_interim", Play("protocol_error", "answers 102 again and again", _endless_interim)
    yield (
        "endless_body",
        Play("success", "answers 200 with a body without an end, of which the start is kept", _endless),
    )
    for name, deed in _HELD.items():
        yield name, Play(name, f"takes the request and holds it, until you {deed}", _never)


# The target has no part in these, but to be busy long enough.
_HELD = {
    "worker_lost": "kill the worker (kill -9)",
    "interrupted": "stop the worker, and wait out its grace",
    "cancelled": "cancel the task",
}


async def _reset(stage: Stage) -> None:
    stage.peer.reset()
    raise PeerGone


async def _hang_up(_: Stage) -> None:
    raise PeerGone


async def _never(stage: Stage) -> None:
    await stage.silence()


async def _drip_head(stage: Stage) -> None:
    await stage.peer.send(_OK + b"X-Drip: ")
    await stage.on_and_on(b".", every=_DRIP)


async def _drip_body(stage: Stage) -> None:
    await stage.peer.send(_LONG)
    await stage.on_and_on(b".", every=_DRIP)


async def _endless_head(stage: Stage) -> None:
    await stage.peer.send(_OK)
    await stage.on_and_on(b"X-More: " + b"x" * 1000 + b"\r\n")


async def _endless_interim(stage: Stage) -> None:
    await stage.on_and_on(b"HTTP/1.1 102 Processing\r\n\r\n" * 50)


async def _endless(stage: Stage) -> None:
    await stage.peer.send(_CHUNKED)
    await stage.on_and_on(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


def _sent(data: bytes) -> Performance:
    async def perform(stage: Stage) -> None:
        await stage.peer.send(data)
        raise PeerGone

    return perform
