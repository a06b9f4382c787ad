"""Dramatiq on the broker of dramatiq-postgres, with urllib3: run as ``python -m bench.peer_dramatiq``."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
import urllib3
from dramatiq_postgres import PostgresBroker
from dramatiq_postgres.schema import init
from dramatiq_postgres.utils import make_pool, transaction

from bench.peer_program import DONE, HEADERS, TEXT, main

_CONNECTIONS = 16  # the broker's own default; more of them made it no faster


class Program:
    """Threads as many as asked, results stored: its queue forgets what is acknowledged."""

    def fill(self, url: str, count: int) -> None:
        pool = make_pool(url, maxconn=1)
        with transaction(pool) as cursor:
            init(cursor)
        pool.close()
        broker = PostgresBroker(url=url, listen=False, notify=False)
        deliver = _actor(broker, "", 1)
        for _ in range(count):
            deliver.send(TEXT)
        broker.close()

    def work(self, url: str, target_url: str, in_flight: int) -> None:
        broker = PostgresBroker(url=f"{url}?maxconn={_CONNECTIONS}")
        _actor(broker, target_url, in_flight)
        dramatiq.Worker(broker, worker_threads=in_flight).start()
        threading.Event().wait()


def _actor(broker: PostgresBroker, target_url: str, threads: int) -> Any:
    http = urllib3.PoolManager(maxsize=threads, headers=HEADERS)

    def deliver(body: str) -> bool:
        return http.request("POST", target_url, body=body.encode()).data == DONE

    return dramatiq.actor(broker=broker, store_results=True)(deliver)


if __name__ == "__main__":
    main(Program())
