"""Things done at the same moment."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import TypeVar

from tests.support.processes import wait_until

T = TypeVar("T")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Start every call behind one barrier; return what each gave, or the error it raised, in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait(60)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def results(given: Sequence[T | Exception]) -> list[T]:
    """What the calls gave; the first error, if there was one, is raised."""
    found = []
    for each in given:
        if isinstance(each, Exception):
            raise each
        found.append(each)
    return found


def wait_inside(function: Callable[..., object], threads: Sequence[threading.Thread]) -> None:
    """Return once each of ``threads`` has entered ``function``, and has had a moment to wait there; or has ended."""
    assert isinstance(function, FunctionType)

    def inside(thread: threading.Thread) -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None and frame.f_code is not function.__code__:
            frame = frame.f_back
        return frame is not None or not thread.is_alive()

    wait_until(lambda: all(map(inside, threads)), what="the threads")
    time.sleep(0.02)
