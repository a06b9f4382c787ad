"""The limit of every async peer: aiohttp on uvloop, and no queue.

Run as ``python -m bench.bare_loop PORT COUNT IN_FLIGHT``; it prints the seconds that took, over connections that stand,
and the processor seconds.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop

from bench.children import HOST
from bench.peer_program import DONE, HEADERS
from bench.rounds import Stopwatch
from bench.work import BODY


async def run(port: int, count: int, in_flight: int) -> None:
    left = iter(range(count))

    async def one() -> None:
        async with session.post(f"http://{HOST}:{port}/work", data=BODY) as answer:
            assert await answer.read() == DONE

    async def several() -> None:
        for _ in left:
            await one()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight), headers=HEADERS) as session:
        await asyncio.gather(*(one() for _ in range(in_flight)))
        with Stopwatch() as watch:
            await asyncio.gather(*(several() for _ in range(in_flight)))
    print(watch.seconds, watch.cpu, flush=True)


if __name__ == "__main__":
    uvloop.run(run(*map(int, sys.argv[1:])))
