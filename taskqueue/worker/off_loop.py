"""The one way from the event loop to the store: a thread of the caller's own, never the loop's default pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from taskqueue.worker.background import Background

P = ParamSpec("P")
T = TypeVar("T")
_Answer = Callable[[Any, BaseException | None], None]


class StoreThread(Background):
    """One thread that makes store calls in turn; begins with the first."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._calls: SimpleQueue[tuple[Callable[[], Any], _Answer] | None] = SimpleQueue()
        self.start(self._run)

    def put(self, call: Callable[[], Any], answer: _Answer) -> None:
        """Queue ``call``; ``answer`` is called on this thread with its result or its exception."""
        self._calls.put((call, answer))

    def stop(self) -> None:
        """Let the thread end after the calls already queued."""
        self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, answer = item
            try:
                result = call()
            except BaseException as error:
                answer(None, error)
            else:
                answer(result, None)


async def off_loop(thread: StoreThread, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of ``call``, made on ``thread``. Cancelling the wait does not stop the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def answer(result: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    thread.put(lambda: call(*args, **kwargs), answer)
    return await future
