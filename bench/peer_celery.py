"""Celery with its broker and its results on PostgreSQL, with urllib3: run as ``python -m bench.peer_celery``."""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import Any

import urllib3
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_process_init

from bench.peer_program import DONE, HEADERS, TEXT, main


class Program:
    """A pool of processes: in one of threads or of greenlets the results open a connection for every task."""

    def fill(self, url: str, count: int) -> None:
        deliver = _deliver(url, "")
        with deliver.app.producer_or_acquire() as producer:
            for _ in range(count):
                deliver.apply_async((TEXT,), producer=producer)

    def work(self, url: str, target_url: str, in_flight: int) -> None:
        app, main_process = _deliver(url, target_url).app, os.getpid()
        # Made before the pool is forked; its processes would else open a connection for every result.
        app.backend.as_uri()
        worker_process_init.connect(lambda **_: _end_with(main_process), weak=False)
        warnings.simplefilter("ignore", SecurityWarning)  # a root that only reads JSON is none of its dangers
        pool = ["--pool=prefork", f"--concurrency={in_flight}"]
        quiet = ["--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.worker_main(["--quiet", "worker", *pool, *quiet])


def _deliver(url: str, target_url: str) -> Any:
    store = url.replace("postgresql://", "postgresql+psycopg://")
    app = Celery("bench", broker=f"sqla+{store}", backend=f"db+{store}")
    app.conf.update(broker_connection_retry_on_startup=False, worker_enable_remote_control=False)
    http = urllib3.PoolManager(headers=HEADERS)

    def deliver(body: str) -> bool:
        return http.request("POST", target_url, body=body.encode()).data == DONE

    return app.task(name="deliver", acks_late=True)(deliver)


def _end_with(process: int) -> None:
    """A process of the pool would outlive a worker that was killed; this one does not."""

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(0.2)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(Program())
