"""PgQueuer on asyncpg, with aiohttp on uvloop: run as ``python -m bench.peer_pgqueuer``."""

from __future__ import annotations

import aiohttp
import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peer_program import DONE, HEADERS, main
from bench.work import BODY

_AT_ONCE = 1000  # rows of one insert


class Program:
    """A pool of connections, the largest batch there can be, every table logged."""

    def fill(self, url: str, count: int) -> None:
        uvloop.run(_fill(url, count))

    def work(self, url: str, target_url: str, in_flight: int) -> None:
        uvloop.run(_work(url, target_url, in_flight))


async def _fill(url: str, count: int) -> None:
    connection = await asyncpg.connect(url)
    queries = Queries.from_asyncpg_connection(connection)
    await queries.install()
    for start in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - start)
        await queries.enqueue(["deliver"] * size, [BODY] * size, [0] * size)
    await connection.close()


async def _work(url: str, target_url: str, in_flight: int) -> None:
    async with (
        asyncpg.create_pool(url, min_size=4, max_size=8) as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight), headers=HEADERS) as session,
    ):
        queue = PgQueuer.from_asyncpg_pool(pool)

        async def deliver(job: Job) -> None:
            async with session.post(target_url, data=job.payload) as answer:
                assert await answer.read() == DONE

        queue.entrypoint("deliver")(deliver)
        # It refuses a batch of more than half of what may be in flight.
        await queue.run(batch_size=in_flight // 2, max_concurrent_tasks=in_flight)


if __name__ == "__main__":
    main(Program())
