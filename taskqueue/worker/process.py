"""A worker process: its settings, its signals, its exit."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import time
from contextlib import suppress
from typing import Any

import uvloop

from taskqueue import telemetry
from taskqueue.config import Settings
from taskqueue.core.errors import StoreUnavailable
from taskqueue.store.database import Database
from taskqueue.telemetry import Event
from taskqueue.worker.outage import Outage
from taskqueue.worker.worker import Worker

_THRESHOLDS = (50_000, 10, 10)  # containers that are new, then collections before older ones are looked at
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises ``UnsafeDatabase`` or ``WrongRevision`` before anything is claimed. A database that is away is waited for.
    """
    _raise_file_limit()
    database = Database.open(settings.database_url)
    try:
        _wait_for(database, settings)
        _collect_rarely()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, database))
    finally:
        database.close()
    return 0


async def _work(settings: Settings, database: Database) -> None:
    worker = Worker(settings, database)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_tell)
    for number in _SIGNALS:
        loop.add_signal_handler(number, _drain, worker, loop)
    await worker.run()


def _drain(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    for number in _SIGNALS:
        loop.add_signal_handler(number, os._exit, 128 + number)
    worker.drain()


def _tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited. Left to itself asyncio would print it whole, with whatever the error quotes."""
    error = context.get("exception") or RuntimeError("the event loop reported a fault without an exception")
    telemetry.exception(Event.WORKER_FAULT, error, what="event loop")


def _wait_for(database: Database, settings: Settings) -> None:
    outage = Outage("start")
    while True:
        try:
            for warning in database.check(allow_unsafe=settings.allow_unsafe_database):
                telemetry.warning(Event.DATABASE_UNSAFE, warning=warning)
        except StoreUnavailable as error:
            time.sleep(outage.struck(error))
        else:
            outage.over()
            return


def _collect_rarely() -> None:
    """What is loaded by now stays, and an attempt leaves next to no cycles: to look for them all the time took a tenth
    of a busy worker's processor time, or more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def _raise_file_limit() -> None:
    """Every attempt is a socket: take as many files as the operator's hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # "unlimited" is more than some systems grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
