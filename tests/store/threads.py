"""Things done at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Start every call behind one barrier; return what each gave, or the error it raised, in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait(10)
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
