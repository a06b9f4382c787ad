"""Processes that settle what is due, and kill themselves at any step of that transaction.

Run as a program: the database's URL. For each line of its input, ``step status offset``, it sends a child to claim what
is due and to settle it with that status, the clock being ``offset`` seconds ahead; or, for the word ``park``,
``redrive`` or ``remove`` in place of a status, to do that. It prints "killed" when the child died before
that step, "settled" when there was none such.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta

from sqlalchemy import Connection

from taskqueue.core.lifecycle import decide
from taskqueue.core.terms import Limits
from taskqueue.store import dead_letters, leases, parking
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from tests.store.overhear import listen
from tests.support.builders import answer

LEASE = timedelta(seconds=15)


def main(url: str) -> None:
    for line in sys.stdin:
        step, status, offset = line.split()
        child = os.fork()
        if child == 0:
            _die(url, int(step), status, timedelta(seconds=float(offset)))
            os._exit(0)
        _, how = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(how) else "settled" if how == 0 else "failed", flush=True)


def _die(url: str, step: int, what: str, later: timedelta) -> None:
    database = Database.open(url, clock_offset=lambda: later)
    claimed = leases.claim(database, worker="dying", limit=100, lease=LEASE).tasks if what.isdigit() else []
    with database.read() as conn:
        letters = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).items
    fuse = _Fuse(step)
    with database.begin() as conn:
        now = database.now(conn)
        fuse.watch(conn)
        match what:
            case "park":
                parking.step(conn, database, limit=3)
            case "redrive":
                dead_letters.redrive(conn, database, "default", letters[0].id)
            case "remove":
                dead_letters.remove(conn, database, "default", letters[0].id)
            case status:
                outcome = answer(int(status))
                settlements = [decide(task, outcome, now=now, jitter=0.0, limits=Limits()) for task in claimed]
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
