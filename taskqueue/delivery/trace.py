"""How far one attempt has got."""

from __future__ import annotations

from time import monotonic

from taskqueue.core.errors import ForbiddenTarget
from taskqueue.core.outcome import Phase, Timings

_PHASES = len(Phase)


class Trace:
    """A record of one attempt that is kept while it runs; the worker may read it at any moment."""

    __slots__ = ("_entered", "bytes_received", "bytes_sent", "forbidden", "phase", "surprise")

    def __init__(self) -> None:
        self.phase = Phase.NONE
        self.bytes_sent = 0
        self.bytes_received = 0
        self.forbidden: ForbiddenTarget | None = None  # for the security log: only it holds the address
        self.surprise: Exception | None = None  # a fault of our own, for the error log
        self._entered: list[float | None] = [None] * _PHASES

    def enter(self, phase: Phase) -> None:
        """Begin ``phase``, now; the one before ends."""
        self._entered[phase] = monotonic()
        self.phase = phase

    def timings(self) -> Timings:
        """Seconds in each phase so far."""
        _, dns, connect, tls, sending, sent, headers, _ = self._entered
        following = monotonic()
        spans: list[float | None] = []
        for entered in (headers, sent, sending, tls, connect, dns):
            if entered is None:
                spans.append(None)
            else:
                spans.append(following - entered)
                following = entered
        read, wait, send, handshake, connecting, lookup = spans
        return Timings(dns=lookup, connect=connecting, tls=handshake, send=send, wait=wait, read=read)
