"""The last look at the lease: right before the first byte."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from taskqueue.core.outcome import Phase
from taskqueue.core.target import AllowedTargets, parse_target
from taskqueue.delivery.http import Request, Transport
from taskqueue.store.database import Database
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Cut, Held
from tests.support.builders import claim_one
from tests.support.target import LocalTarget
from tests.worker.running import submit_to, until


async def deliver(held: Held) -> None:
    transport = Transport(allowed=AllowedTargets.parse("127.0.0.1"))
    spec = held.task.spec
    request = Request(
        target=parse_target(spec.target_url),
        method=spec.method,
        headers=(),
        body=spec.body,
        timeout=timedelta(seconds=5),
    )
    try:
        await transport.deliver(request, held.trace)
    finally:
        await transport.close()


def test_nothing_is_sent_behind_the_fence_even_on_an_open_connection(database: Database, target: LocalTarget) -> None:
    submit_to(database, target.url)
    held = Held(claim_one(database), fence=ticks())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(deliver(held))
    assert held.cut_for is Cut.FENCED
    assert held.trace.phase is Phase.CONNECT
    until(lambda: (target.connections, target.open_connections) == (1, 0))
    assert target.hits == []


def test_before_the_fence_everything_is_sent(database: Database, target: LocalTarget) -> None:
    submit_to(database, target.url)
    held = Held(claim_one(database), fence=ticks() + 10)
    asyncio.run(deliver(held))
    assert held.cut_for is None
    assert len(target.hits) == 1
