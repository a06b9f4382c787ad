"""One attempt over HTTP/1.1, from a request to an outcome."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta

from taskqueue.core.answer import read_answer
from taskqueue.core.errors import ForbiddenTarget
from taskqueue.core.outcome import CLASSES, Outcome, Phase
from taskqueue.core.target import Address, AllowedTargets, Target
from taskqueue.delivery.answer import Answer
from taskqueue.delivery.dial import Dialer
from taskqueue.delivery.failure import AttemptFailed, surprise, too_late
from taskqueue.delivery.guard import check_addresses
from taskqueue.delivery.pool import Pool
from taskqueue.delivery.request import Request, encode_head
from taskqueue.delivery.resolver import Resolver
from taskqueue.delivery.tls import tls_context
from taskqueue.delivery.trace import Trace

__all__ = ["Request", "Trace", "Transport"]


class Transport:
    """Makes attempts: at most one request on the wire for each, never repeated. Belongs to one event loop."""

    def __init__(
        self,
        *,
        allowed: AllowedTargets,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        max_idle: int = 512,
        max_idle_per_origin: int = 128,
        idle_for: timedelta = timedelta(seconds=3),
    ) -> None:
        self._allowed = allowed
        self._resolver = resolver or Resolver()
        self._pool = Pool(total=max_idle, per_origin=max_idle_per_origin, idle_for=idle_for)
        self._dialer = Dialer(tls or tls_context(), on_lost=self._pool.discard)

    async def deliver(self, request: Request, trace: Trace) -> Outcome:
        """How the attempt ended, within the request's timeout whatever the peer does.

        Raises nothing but ``CancelledError``; the connection is then cut off before the caller goes on.
        """
        seconds = request.timeout.total_seconds()
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            return await self._attempt(request, trace, deadline)
        except TimeoutError:
            failure = too_late(trace.phase, seconds)
        except AttemptFailed as error:
            failure = error
        except ForbiddenTarget as error:
            trace.forbidden = error
            failure = AttemptFailed("target_forbidden", "ForbiddenTarget", str(error))
        except Exception as error:
            trace.surprise = error
            failure = surprise(trace.phase, error)
        return Outcome(
            cls=CLASSES[failure.cls],
            phase=trace.phase,
            error_type=failure.error_type,
            error_message=failure.message,
            timings=trace.timings(),
            bytes_sent=trace.bytes_sent,
            bytes_received=trace.bytes_received,
        )

    async def close(self) -> None:
        """Close every connection and wait until they are gone. No attempt should be under way; one that is fails."""
        self._pool.close()
        self._resolver.close()
        await self._dialer.close()

    async def _attempt(self, request: Request, trace: Trace, deadline: float) -> Outcome:
        target = request.target
        head = encode_head(request)
        addresses = await self._addresses(target, trace, deadline)
        check_addresses(target, addresses, self._allowed)
        connection = self._pool.take(target.origin, addresses)
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await self._dialer.dial(target, addresses, trace, deadline=deadline)
        answer = Answer(whole=request.whole, read=request.headers_read)
        await connection.exchange(head, request.body, answer, trace, deadline=deadline)
        if connection.open:
            self._pool.put(connection)
        outcome = read_answer(
            answer.response(),
            complete=answer.complete or answer.cut,
            timings=trace.timings(),
            bytes_sent=trace.bytes_sent,
            bytes_received=trace.bytes_received,
            invoked=target.lambda_function is not None,
        )
        return outcome if request.whole else outcome.trimmed()

    async def _addresses(self, target: Target, trace: Trace, deadline: float) -> Sequence[Address]:
        """Of a name, as it resolves now: what was safe a minute ago may point elsewhere."""
        if target.literal is not None:
            return (target.literal,)
        trace.enter(Phase.DNS)
        if (known := self._resolver.known(target.host)) is not None:
            return known
        async with asyncio.timeout_at(deadline):
            return await self._resolver.resolve(target.host)
