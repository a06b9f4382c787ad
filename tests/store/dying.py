"""Processes that settle what is due, and kill themselves at any step of that transaction.

Run as a program: the database's URL. For each line of its input, ``step status offset``, it sends a child to claim what
is due and to settle it with that status, the clock being ``offset`` seconds ahead. It prints "killed" when the child
died before that step, "settled" when there was none such.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta

from sqlalchemy import Connection

from taskqueue.core.lifecycle import decide
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from tests.store.overhear import listen
from tests.support.builders import answer

LEASE = timedelta(seconds=15)


def main(url: str) -> None:
    for line in sys.stdin:
        step, status, offset = line.split()
        child = os.fork()
        if child == 0:
            _settle(url, int(step), int(status), timedelta(seconds=float(offset)))
            os._exit(0)
        _, how = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(how) else "settled" if how == 0 else "failed", flush=True)


def _settle(url: str, step: int, status: int, later: timedelta) -> None:
    database = Database.open(url, clock_offset=lambda: later)
    claimed = leases.claim(database, worker="dying", limit=100, lease=LEASE).tasks
    fuse = _Fuse(step)
    with database.begin() as conn:
        now = database.now(conn)
        settlements = [decide(task, answer(status), now=now, jitter=0.0, limits=Limits()) for task in claimed]
        fuse.watch(conn)
        leases.settle(conn, database, settlements)
        fuse.burn()  # all is written, and nothing committed
    fuse.burn()  # committed, and nobody was told


class _Fuse:
    """Counts the steps of a transaction down, and kills this process before the one it was told."""

    def __init__(self, left: int) -> None:
        self._left = left

    def watch(self, conn: Connection) -> None:
        listen(conn.connection.driver_connection, lambda *_: self.burn())

    def burn(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


if __name__ == "__main__":
    main(sys.argv[1])
