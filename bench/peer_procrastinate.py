"""Procrastinate on its psycopg connections, with aiohttp on uvloop: run as ``python -m bench.peer_procrastinate``."""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import uvloop
from procrastinate import App, PsycopgConnector

from bench.peer_program import DONE, HEADERS, TEXT, main

_AT_ONCE = 1000  # rows of one insert


class Program:
    """An async task, with as many of it at once as asked, and connections enough to record their ends side by side."""

    def fill(self, url: str, count: int) -> None:
        uvloop.run(_fill(url, count))

    def work(self, url: str, target_url: str, in_flight: int) -> None:
        uvloop.run(_work(url, target_url, in_flight))


async def _fill(url: str, count: int) -> None:
    async with _app(url).open_async() as app:
        await app.schema_manager.apply_schema_async()
        for start in range(0, count, _AT_ONCE):
            batch: list[dict[str, Any]] = [{"body": TEXT}] * min(_AT_ONCE, count - start)
            await app.configure_task("deliver").batch_defer_async(*batch)


async def _work(url: str, target_url: str, in_flight: int) -> None:
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with _app(url).open_async() as app, aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def deliver(body: str) -> None:
            async with session.post(target_url, data=body.encode()) as answer:
                assert await answer.read() == DONE

        app.task(name="deliver")(deliver)
        await app.run_worker_async(concurrency=in_flight, install_signal_handlers=False)


def _app(url: str) -> App:
    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # a line for each task, and one about where the app is
    return App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=16))


if __name__ == "__main__":
    main(Program())
