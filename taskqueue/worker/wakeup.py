"""Hints from other processes that work has come; without them polling finds it a little later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from taskqueue.worker.background import Background
from taskqueue.worker.outage import Outage

_SLICE_SECONDS = 0.25  # how soon the thread notices that it should end


class Wakeup:
    """A thread that waits for hints and pokes the event loop."""

    def __init__(self, database: Database, poke: Callable[[], None]) -> None:
        self._database, self._poke = database, poke
        self.thread = Background("wakeup")

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.thread.start(lambda: self._run(loop))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        outage = Outage("listen")
        pause = 0.0
        while self.thread.rest(pause):
            try:
                self._listen(loop)
            except Exception as error:
                pause = outage.struck(error)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        listener = self._database.listener(Hint.READY)
        try:
            while self.thread.rest(0):
                if listener.wait(_SLICE_SECONDS):
                    with suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(self._poke)
        finally:
            listener.close()
