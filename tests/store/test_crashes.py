"""Processes that are killed in the middle of whatever they do leave a database that contradicts nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from taskqueue.store.database import Database
from taskqueue.store.schema import tasks
from tests.store.invariants import faults

PROGRAM = Path(__file__).with_name("traffic.py")
ROUNDS, PROCESSES = 3, 2


def test_whatever_is_killed_in_the_middle_leaves_nothing_half_done(database: Database, database_url: str) -> None:
    acknowledged: set[UUID] = set()
    for turn in range(ROUNDS):
        running = [_start(database_url, seed=turn * PROCESSES + number) for number in range(PROCESSES)]
        for number, process in enumerate(running):
            assert process.stdout is not None
            first = "".join(process.stdout.readline() for _ in range(3))  # it is under way
            time.sleep(0.25 + 0.1 * number)
            assert process.poll() is None, "it ended by itself"
            process.send_signal(signal.SIGKILL)
            said, _ = process.communicate()
            acknowledged.update(UUID(each) for line in (first + said).splitlines() for each in line.split())
        assert faults(database) == []
    with database.read() as conn:
        known = set(conn.execute(select(tasks.c.id)).scalars())
    assert acknowledged <= known
    assert len(acknowledged) >= ROUNDS * PROCESSES * 3


def _start(url: str, *, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROGRAM, url, str(seed)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
