"""A worker that has lost one of its threads ends, whatever the others could still do."""

from __future__ import annotations

import asyncio
import ctypes
import threading

import pytest
import uvloop

from taskqueue.config import Settings
from taskqueue.store.database import Database
from taskqueue.worker.worker import Worker
from tests.worker.running import QUICK


def end(thread: threading.Thread) -> None:
    """Let this thread run into an exception that none of its own code catches."""
    number = thread.ident
    assert number is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(number), ctypes.py_object(SystemExit))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["taskqueue-extend", "taskqueue-chores", "taskqueue-wakeup"])
def test_a_worker_without_one_of_its_threads_dies(database: Database, name: str) -> None:
    others = set(threading.enumerate())

    def started() -> list[threading.Thread]:
        return [thread for thread in set(threading.enumerate()) - others if thread.name == name]

    async def work() -> None:
        working = asyncio.create_task(Worker(Settings(**QUICK), database).run())
        while not (found := started()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        end(*found)
        await asyncio.wait_for(working, 30)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(RuntimeError, match=name):
        runner.run(work())
