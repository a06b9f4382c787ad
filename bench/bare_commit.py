"""The bare part of a group commit: one thread inserts what callers hand it, and each caller waits for its own rows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from bench.databases import WAIT
from bench.plain import Inserts, Plain
from bench.rounds import Sample, together
from bench.work import ready_made

_Handed = tuple[Inserts, threading.Lock]


def waited_for(plain: Plain, *, callers: int, calls: int) -> Sample:
    """``calls`` tasks from each of ``callers`` threads, inserted by one thread while each waits for its commit."""
    committer, rows = BareCommit(plain), ready_made_each(plain, callers=callers, calls=calls)
    sample = together(lambda caller: committer.insert(rows[caller].pop()), callers=callers, calls=calls)
    committer.close()
    return sample


def ready_made_each(plain: Plain, *, callers: int, calls: int) -> list[list[Inserts]]:
    """The rows of ``calls`` tasks for each of ``callers``."""
    return [[ready_made(plain, 1) for _ in range(calls)] for _ in range(callers)]


class BareCommit:
    """Takes whatever waits, inserts it in one transaction, and opens the gate of each of its callers."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain
        self._inbox: queue.SimpleQueue[_Handed | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def insert(self, rows: Inserts) -> None:
        """Block until ``rows`` are committed."""
        gate = threading.Lock()
        gate.acquire()
        self._inbox.put((rows, gate))
        if not gate.acquire(timeout=WAIT.total_seconds()):
            raise TimeoutError("the bare inserts failed or hang; an error of theirs is printed above")

    def close(self) -> None:
        """Called once every caller has its rows."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while handed := self._inbox.get():
            group = [handed]
            while not self._inbox.empty() and (handed := self._inbox.get()):
                group.append(handed)
            self._plain.insert(_together([rows for rows, _ in group]))
            for _, gate in group:
                gate.release()


def _together(group: Sequence[Inserts]) -> Inserts:
    """The rows of all, table by table, with one wake; each of ``group`` has rows for the same tables."""
    by_table = zip(*(inserts.tables for inserts in group), strict=True)
    tables = tuple((same[0][0], [row for _, rows in same for row in rows]) for same in by_table)
    return Inserts(tables, group[0].wake)
