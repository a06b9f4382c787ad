"""Deliver: attempts over our own transport, against the same bytes alone and against another client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import uvloop

from bench.children import child, told
from bench.client import exchange
from bench.report import Row
from bench.rounds import Sample, Side, Stopwatch, compare
from bench.sizes import Sizes
from bench.work import BODY
from taskqueue.core.target import AllowedTargets, parse_target
from taskqueue.delivery.http import Request, Trace, Transport
from taskqueue.delivery.request import encode_head

IN_FLIGHT = 100
_BYTES_ALONE = "the same bytes on httptools, no HTTP client"
Deliver = Callable[[], Coroutine[Any, Any, None]]
HEADERS = (
    ("Taskqueue-Task-Id", "01900000-0000-7000-8000-000000000000"),
    ("Taskqueue-Attempt-Id", "01900000-0000-7000-8000-000000000001"),
    ("Taskqueue-Attempt", "1"),
    ("webhook-id", "01900000-0000-7000-8000-000000000000"),
    ("webhook-timestamp", "1700000000"),
    ("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
    ("User-Agent", "taskqueue"),
    ("Content-Type", "application/json"),
)


def measure(sizes: Sizes) -> Iterator[Row]:
    with child("bench.sink") as sink:
        port = int(told(sink))
        count = sizes.deliveries
        yield from compare(
            part="deliver",
            database="",
            case=f"{IN_FLIGHT} in flight",
            ours=lambda: transport(port, count),
            bare={
                _BYTES_ALONE: lambda: requests(port, count),
                **with_aiohttp("aiohttp on uvloop", port, count),
            },
            unlike={_BYTES_ALONE},
            sizes=sizes,
        )


def transport(port: int, count: int) -> Sample:
    """``count`` attempts through ``Transport.deliver``, over connections that stand."""

    async def run() -> Sample:
        async with attempts(port) as deliver:
            return await _in_flight(deliver, count)

    return on_uvloop(run())


@asynccontextmanager
async def attempts(port: int) -> AsyncIterator[Deliver]:
    """One attempt through a transport of their own for each call, which fails unless it succeeds."""
    client, request = Transport(allowed=AllowedTargets.parse("127.0.0.1")), _request(port)

    async def deliver() -> None:
        outcome = await client.deliver(request, Trace())
        assert outcome.cls.name == "success", outcome

    yield deliver
    await client.close()


async def at_once(deliver: Deliver, count: int) -> None:
    await asyncio.gather(*(deliver() for _ in range(count)))


def with_aiohttp(label: str, port: int, count: int) -> dict[str, Side]:
    """As many requests through aiohttp, as the side ``label``; no side where it is not installed."""
    if find_spec("aiohttp"):
        return {label: lambda: _aiohttp(port, count)}
    print("aiohttp is not installed, so nothing is compared to it", file=sys.stderr)
    return {}


def on_uvloop(run: Coroutine[Any, Any, Sample]) -> Sample:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run)


def requests(port: int, count: int, *, path: str = "/work") -> Sample:
    """The bytes that the transport would send, written as they are: no pool, no deadline, no caps, no guard."""

    async def run() -> Sample:
        message = encode_head(_request(port, path)) + BODY
        await exchange(port, message=message, connections=IN_FLIGHT, count=IN_FLIGHT)
        with Stopwatch() as watch:
            seconds, latencies = await exchange(port, message=message, connections=IN_FLIGHT, count=count)
        return Sample(count, seconds, watch.cpu, latencies)

    return on_uvloop(run())


def _aiohttp(port: int, count: int) -> Sample:
    aiohttp: Any = import_module("aiohttp")

    async def run() -> Sample:
        connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
        url, headers = f"http://127.0.0.1:{port}/work", dict(HEADERS)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def deliver() -> None:
                async with session.post(url, data=BODY, headers=headers) as answer:
                    await answer.read()
                    assert answer.status == 200, answer.status

            return await _in_flight(deliver, count)

    return on_uvloop(run())


async def _in_flight(deliver: Deliver, count: int) -> Sample:
    """``count`` deliveries, ``IN_FLIGHT`` at a time; the first ones, which connect, are not measured."""
    await at_once(deliver, IN_FLIGHT)
    latencies: list[float] = []

    async def several(own: int) -> None:
        for _ in range(own):
            start = perf_counter()  # the loop's own clock is a coarse one
            await deliver()
            latencies.append(perf_counter() - start)

    shares = [count // IN_FLIGHT + (place < count % IN_FLIGHT) for place in range(IN_FLIGHT)]
    with Stopwatch() as watch:
        await asyncio.gather(*map(several, shares))
    return watch.sample(count, latencies)


def _request(port: int, path: str = "/work") -> Request:
    target = parse_target(f"http://127.0.0.1:{port}{path}")
    return Request(target=target, method="POST", headers=HEADERS, body=BODY, timeout=timedelta(seconds=30))
