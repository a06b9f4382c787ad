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


def end(name: str) -> None:
    """Let the thread of this name run into an exception that none of its own code catches."""
    (number,) = [thread.ident for thread in threading.enumerate() if thread.name == name]
    assert number is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(number), ctypes.py_object(SystemExit))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["taskqueue-extend", "taskqueue-chores", "taskqueue-wakeup"])
def test_a_worker_without_one_of_its_threads_dies(database: Database, name: str) -> None:
    async def work() -> None:
        working = asyncio.create_task(Worker(Settings(**QUICK), database).run())
        await asyncio.sleep(0.5)
        end(name)
        await asyncio.wait_for(working, 5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(RuntimeError, match=name):
        runner.run(work())
