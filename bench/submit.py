"""Submit into the store: group commit against the inserts it consists of, and against an insert for each caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median

from bench.databases import WAIT, Place
from bench.plain import Inserts, Plain, new_rows
from bench.report import Row
from bench.rounds import Sample, Stopwatch, compare, repeated, timed
from bench.sizes import Sizes
from bench.work import new_task
from taskqueue.store.database import Database
from taskqueue.store.group_commit import GroupCommit
from taskqueue.store.submissions import Submission, mint

MANY = 64  # callers from which an insert for each of them is worth a look


def measure(place: Place, sizes: Sizes) -> Iterator[Row]:
    with place.open() as database, place.plain() as plain:
        for callers, calls in sizes.submits.items():
            yield from _with_callers(place, database, plain, callers=callers, calls=calls, sizes=sizes)


def _with_callers(
    place: Place, database: Database, plain: Plain, *, callers: int, calls: int, sizes: Sizes
) -> Iterator[Row]:
    groups: list[float] = []

    def ours() -> Sample:
        plain.empty()
        committer, submission = GroupCommit(database, wait=WAIT), Submission(tasks=(new_task(),))
        sample = _called(callers, calls, lambda _: committer.submit(submission))
        committer.close()
        groups.append(sample.count / plain.groups())
        return sample

    def bare() -> Sample:
        size = max(1, round(groups[-1]))
        ready_made = [_rows(plain, size) for _ in range(max(1, callers * calls // size))]
        return repeated(plain.insert, ready_made, weight=size)

    sides = {"bare": bare}
    if callers >= MANY:
        sides["an insert of its own for each caller"] = lambda: _direct(place, callers, calls)
    case = "1 caller" if callers == 1 else f"{callers} callers"
    for row in compare(
        part="submit", database=place.name, case=case, ours=ours, bare=sides, sizes=sizes, prepare=plain.empty
    ):
        size = median(groups)
        yield replace(row, against=f"bare inserts, groups of {size:.1f}") if row.against == "bare" else row


def _direct(place: Place, callers: int, calls: int) -> Sample:
    """Every caller commits its own row: on PostgreSQL through a connection of its own, on SQLite in turn."""
    shared = 1 if place.name == "sqlite" else callers
    with ExitStack() as stack:
        plains = [stack.enter_context(place.plain()) for _ in range(shared)]
        ready_made = [[_rows(plains[0], 1) for _ in range(calls)] for _ in range(callers)]
        turns = [threading.Lock() for _ in plains]

        def insert(caller: int) -> None:
            with turns[caller % shared]:
                plains[caller % shared].insert(ready_made[caller].pop())

        return _called(callers, calls, insert)


def _rows(plain: Plain, count: int) -> Inserts:
    now = datetime.now(UTC)
    return new_rows(plain, [mint(new_task(), now=now) for _ in range(count)])


def _called(callers: int, calls: int, call: Callable[[int], object]) -> Sample:
    """``call(caller)``, ``calls`` times in each of ``callers`` threads that start together."""
    start = threading.Barrier(callers + 1)
    latencies: list[float] = []

    def run(caller: int) -> None:
        own: list[float] = []
        start.wait()
        for _ in range(calls):
            timed(lambda: call(caller), own)
        latencies.extend(own)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    with Stopwatch() as watch:
        start.wait()
        for thread in threads:
            thread.join()
    assert len(latencies) == callers * calls, "a caller failed; its error is printed above"
    return watch.sample(callers * calls, latencies)
