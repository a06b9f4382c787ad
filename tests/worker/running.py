"""A real worker on an event loop of its own, beside the test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import uvloop

from taskqueue.config import Settings
from taskqueue.core.target import parse_target
from taskqueue.core.task import Task
from taskqueue.store import tasks
from taskqueue.store.database import Database
from taskqueue.worker.worker import Worker
from tests.support.builders import look_up, submit_one

# As quick as the settings allow, but for leases: a machine that stalls for a second or two must not let them lapse.
QUICK: dict[str, Any] = {
    "allowed_targets": "127.0.0.1",
    "concurrency": 20,
    "lease_seconds": 10.0,
    "extend_seconds": 0.3,
    "fence_margin_seconds": 0.7,
    "reclaim_seconds": 0.3,
    "grace_seconds": 10.0,
}


class RunningWorker:
    """Works from the start; ``stop`` or ``drain`` ends it."""

    def __init__(self, database: Database, **settings: Any) -> None:
        self._settings, self._database = Settings(**QUICK | settings), database
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._worker: Worker
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()
        assert self._started.wait(30)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stall(self, seconds: float) -> None:
        """Let the event loop stand still."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def drain(self) -> None:
        """As SIGTERM does."""
        self._loop.call_soon_threadsafe(self._worker.drain)

    def wait(self, seconds: float = 30.0) -> float:
        """Seconds until it had ended by itself."""
        began = time.monotonic()
        self._thread.join(seconds)
        assert not self.alive, "the worker did not end"
        return time.monotonic() - began

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.alive:
            self.drain()
            self.wait()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop, self._worker = asyncio.get_running_loop(), Worker(self._settings, self._database)
        self._started.set()
        await self._worker.run()


def submit_to(database: Database, url: str, **over: Any) -> Task:
    """Commit a task for ``url`` that is tried once a tenth of a second; ``over`` as for ``new_task``."""
    target = parse_target(url)
    over = {"timeout": timedelta(seconds=5), **over}
    return submit_one(database, target_url=target.url, origin=target.origin, target_host=target.host, **over)


def until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds; fail if it does not within ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def ended(database: Database, task: Task, *, seconds: float = 20.0) -> Task:
    """The task, once it has ended."""
    until(lambda: look_up(database, task.id).state.ended, seconds=seconds)
    return look_up(database, task.id)


def outcomes(database: Database, task: Task) -> list[str]:
    """The outcome classes of all closed attempts, in their order."""
    with database.read() as conn:
        return [attempt.outcome.cls.name for _, attempt in tasks.attempts(conn, task.spec.project, task.id)]
