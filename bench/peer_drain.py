"""One drain, the same for ours and for every peer: what waits in a fresh database, until all of it is on record."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from subprocess import Popen

import psycopg

from bench.children import Meter, child, parent_of, told
from bench.sink import Arrivals, take_arrivals
from tests.support.databases import PostgresServer

_START_SECONDS = 20.0
_LOOK = 0.005  # seconds between two looks, the same for each


class Failed(Exception):
    """A drain that did not start, did not finish or ended with other counts than it should."""


@dataclass(frozen=True, slots=True)
class Drained:
    """From the first request until the last record; what was spent is in seconds for one task, and ``None`` untold."""

    rate: float
    worker: float | None = None
    database: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """How a queue is filled and worked off; each gets the database's URL, the sink's port, and how many."""

    fill: Callable[[str, int, int], object]
    work: Callable[[str, int, int], AbstractContextManager[Popen[str]]]
    recorded: str  # a query for how many are on record as done


def drain(
    contender: Contender, server: PostgresServer, *, count: int, in_flight: int, answers_after: float, patience: float
) -> Drained:
    """Fill a database of its own, start a worker, and look until all is recorded, for ``patience`` seconds at most."""
    with server.database() as url, child("bench.sink", str(answers_after)) as sink:
        port = int(told(sink))
        contender.fill(url, port, count)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("vacuum analyze")  # as autovacuum would have, had the tasks been waiting for a while
            with contender.work(url, port, in_flight) as worker:
                arrivals = _started(worker, port)
                with Meter(worker) as meter, Meter(parent_of(conn.info.backend_pid) or 0) as server_meter:
                    _wait_until_recorded(conn, contender.recorded, count, patience)
                    ended = time.monotonic()
            arrived = arrivals.count + take_arrivals(port).count
    if arrived != count:
        raise Failed(f"the target got {arrived} requests for {count} tasks")
    spent = [None if each.seconds is None else each.seconds / count for each in (meter, server_meter)]
    return Drained(count / (ended - arrivals.first), *spent)


def _started(worker: Popen[str], port: int) -> Arrivals:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and worker.poll() is None:
        if (arrivals := take_arrivals(port)).count:
            return arrivals
        time.sleep(_LOOK)
    raise Failed("the worker made no request")


def _wait_until_recorded(conn: psycopg.Connection, recorded: str, count: int, patience: float) -> None:
    until = time.monotonic() + patience
    found = 0
    while time.monotonic() < until:
        try:
            ((found,),) = conn.execute(recorded.encode()).fetchall()
        except psycopg.Error as error:
            raise Failed(f"its records cannot be read: {error}") from error
        if found == count:
            return
        time.sleep(_LOOK)
    raise Failed(f"{found} of {count} were recorded after {patience:.0f} s")
