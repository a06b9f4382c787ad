"""One connection to a target: writes a request once, and reads one answer at a time."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from taskqueue.core.outcome import Phase
from taskqueue.delivery.answer import Answer
from taskqueue.delivery.failure import AttemptFailed, closed_by_peer, surprise
from taskqueue.delivery.trace import Trace

_TOGETHER = 64 * 1024  # up to here head and body go out in one call
_PIECE = 64 * 1024
_READ = 256 * 1024
Key = tuple[str, bytes]  # origin, and the address that was checked

# Read several times in each exchange, where an enum member costs as much as the comparison it stands in.
_SENDING, _SENT, _HEADERS, _BODY = Phase.SENDING, Phase.SENT, Phase.HEADERS, Phase.BODY
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """Idle, or in the middle of one exchange. Whatever disturbs either ends the connection."""

    def __init__(self, sock: socket.socket, key: Key, *, secure: bool, on_lost: Callable[[Connection], None]) -> None:
        self.key = key
        self.open = True
        self.idle_since = 0.0
        self._sock, self._secure, self._on_lost = sock, secure, on_lost
        self._loop = asyncio.get_running_loop()
        self._news = select.poll()
        self._news.register(sock, select.POLLIN)
        self._transport: asyncio.Transport
        self._attached = False
        self._waiter: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._trace = Trace()
        self._unsent = memoryview(b"")
        self._handed = 0  # bytes given to the transport, which may still hold some
        self._paused = False
        self._spoke_first = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    async def exchange(self, head: bytes, body: bytes | None, answer: Answer, trace: Trace, *, deadline: float) -> None:
        """Send one request and read ``answer``, whole or cut.

        ``AttemptFailed`` when none came, ``TimeoutError`` when ``deadline`` passed on the loop's clock.
        The connection is closed afterwards unless it can carry another request.
        """
        if not self.open:
            answer.close()
            raise self._gone_before(trace)
        self._answer = answer
        waiter = self._waiter = self._loop.create_future()
        self._trace = trace
        self._handed = 0
        try:
            self._watch(deadline)
            trace.enter(_SENDING)  # before the first byte: who reads it must not believe that nothing was sent
            self._send(head, body)
            await waiter
        except BaseException:
            self.reset()
            raise
        finally:
            self._waiter = self._answer = None
            self._unsent = memoryview(b"")
            answer.close()
        if answer.cut or not self._all_sent():
            self.reset()
        elif not answer.reusable or (answer.status >= 400 and body is not None and len(body) > _TOGETHER):
            self.close()  # who refuses a large body often has not read it, and closes without saying so

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self._transport.abort()
        self._unwatch()

    def reset(self) -> None:
        """Cut the connection off, together with bytes that the system has accepted but not delivered yet."""
        if self.open:
            self._count_sent()
            with suppress(OSError):  # closed already
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def abandon(self) -> None:
        """Close a connection that was never made fit for use."""
        if self._attached:
            self.close()
        else:
            # In a moment, because a transport that failed halfway closes the socket itself, in the same way.
            self._loop.call_soon(self._sock.close)

    def stale(self) -> bool:
        """Whether the peer has closed, or spoken, without the event loop having noticed yet."""
        return bool(self._news.poll(0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._attached = True
        # Told of every byte that could not be sent at once. TLS takes 0 as "always paused".
        self._transport.set_write_buffer_limits(high=1 if self._secure else 0, low=0)

    def data_received(self, data: bytes) -> None:
        answer, trace = self._answer, self._trace
        if answer is None:
            self._spoke_first = True
            self.close()
            return
        trace.bytes_received += len(data)
        if trace.phase < _HEADERS:
            trace.enter(_HEADERS)
        try:
            done = answer.feed(data)
        except AttemptFailed as error:
            self._malformed(answer, error)
            return
        except Exception as error:
            trace.surprise = error
            self._over(surprise(trace.phase, error))
            return
        if answer.head_complete and trace.phase < _BODY:
            trace.enter(_BODY)
        if done:
            self._over(None)

    def eof_received(self) -> None:
        if self._waiter is None:
            self.close()
        else:
            self._peer_ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._secure and self._trace.phase is _SENDING and self.open:
            self._read_last_words()
        self._peer_ended(exc)
        self.open = False
        self._unwatch()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def _watch(self, deadline: float) -> None:
        """Cut the exchange off at ``deadline``. A timer of an earlier exchange serves again: most are never needed."""
        self._deadline = deadline
        if self._timer is None or self._timer_at > deadline:
            self._unwatch()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._watch(self._deadline)
        else:
            self._over(TimeoutError())

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, head: bytes, body: bytes | None) -> None:
        if body is not None and len(body) <= _TOGETHER:
            self._write(head + body)
        else:
            self._unsent = memoryview(body or b"")
            self._write(head)
        self._pump()

    def _pump(self) -> None:
        """Hand over what the transport takes without holding it; the rest waits for ``resume_writing``."""
        if self._waiter is None:
            return
        while self._unsent and not self._paused and self.open and not self._transport.is_closing():
            piece, self._unsent = self._unsent[:_PIECE], self._unsent[_PIECE:]
            self._write(piece)
            if self._secure:
                self._loop.call_soon(self._pump)  # the TLS layer does not tell before that the connection is gone
                break
        self._count_sent()
        if self._all_sent() and self._trace.phase is _SENDING:
            self._trace.enter(_SENT)

    def _write(self, data: bytes | memoryview) -> None:
        self._transport.write(data)
        self._handed += len(data)

    def _all_sent(self) -> bool:
        return not self._unsent and not self._paused and not self._transport.is_closing()

    def _count_sent(self) -> None:
        if self._waiter is not None and not self._transport.is_closing():
            self._trace.bytes_sent = self._handed - self._transport.get_write_buffer_size()

    def _malformed(self, answer: Answer, error: AttemptFailed) -> None:
        """A body that is no body: of a refusal the status says enough, of a success it leaves doubt."""
        self._over(None if answer.head_complete and answer.status >= 300 else error)

    def _read_last_words(self) -> None:
        """A peer that refuses a body answers, closes and resets: the answer may still lie unread in our system."""
        try:
            data = self._sock.recv(_READ, socket.MSG_DONTWAIT)
        except OSError:
            return
        if data and self._answer is not None:
            self.data_received(data)

    def _peer_ended(self, error: Exception | None) -> None:
        answer, trace = self._answer, self._trace
        if answer is None:
            return
        if answer.head_complete:
            answer.end(orderly=error is None)
            self._over(None)
        elif answer.interim_only:
            self._over(AttemptFailed("protocol_error", "InterimOnly", "the target sent 1xx answers and no final one"))
        else:
            self._over(closed_by_peer(trace.phase, error))

    def _over(self, failure: Exception | None) -> None:
        """Let ``exchange`` go on; what comes after is no part of the answer."""
        self._answer = None
        if self._waiter is not None and not self._waiter.done():
            if failure is None:
                self._waiter.set_result(None)
            else:
                self._waiter.set_exception(failure)

    def _gone_before(self, trace: Trace) -> AttemptFailed:
        if self._spoke_first:
            return AttemptFailed("protocol_error", "SpokeFirst", "the target sent something before it was asked")
        return closed_by_peer(trace.phase, None)
