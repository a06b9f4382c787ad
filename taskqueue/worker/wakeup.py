"""Hints from other processes that work has come; without them polling finds it a little later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from taskqueue.worker.outage import Outage

_SLICE_SECONDS = 1.0  # how soon the thread notices that it should end


class Wakeup:
    """A thread that waits for hints and pokes the event loop."""

    def __init__(self, database: Database, poke: Callable[[], None]) -> None:
        self._database, self._poke = database, poke
        self._stopped = threading.Event()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        threading.Thread(target=self._run, args=(loop,), name="taskqueue-wakeup", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        outage = Outage("listen")
        while not self._stopped.is_set():
            try:
                self._listen(loop)
            except Exception as error:
                self._stopped.wait(outage.struck(error))

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        listener = self._database.listener(Hint.READY)
        try:
            while not self._stopped.is_set():
                if listener.wait(_SLICE_SECONDS):
                    with suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(self._poke)
        finally:
            listener.close()
