"""Processes that are killed in the middle of whatever they do leave a database that contradicts nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import lapsed
from taskqueue.core.task import FollowUp, TaskId
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.store.schema import tasks
from tests.store.invariants import faults
from tests.support.builders import answer, claim_all, look_up, new_task, settle_one, submit_one
from tests.support.clock import Clock

PROGRAM, DYING = Path(__file__).with_name("traffic.py"), Path(__file__).with_name("dying.py")
ROUNDS, PROCESSES = 3, 2


def test_whatever_is_killed_in_the_middle_leaves_nothing_half_done(database: Database, database_url: str) -> None:
    acknowledged: set[UUID] = set()
    for turn in range(ROUNDS):
        running = [_start(PROGRAM, database_url, turn * PROCESSES + number) for number in range(PROCESSES)]
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


@pytest.mark.parametrize("status", [200, 400])
def test_a_worker_killed_at_any_step_of_an_ending_brings_its_follow_up_once(
    database: Database, database_url: str, clock: Clock, status: int
) -> None:
    later = FollowUp(task=new_task(delay=timedelta(days=1)))
    fates: list[tuple[str, str]] = []
    with _start(DYING, database_url) as dying:
        assert dying.stdin is not None
        assert dying.stdout is not None
        while not fates or fates[-1][0] == "killed":
            task = submit_one(database, on_failure=later, on_success=later)
            print(len(fates), status, clock().total_seconds(), file=dying.stdin, flush=True)
            fates.append((dying.stdout.readline().strip(), look_up(database, task.id).state.value))
            assert faults(database) == []
            clock.advance(seconds=20)
            _end(database, status)
            assert look_up(database, task.id).state.ended
            assert faults(database) == []
            assert _following(database, task.id) == 1
        dying.stdin.close()
    ended = "succeeded" if status == 200 else "dead"
    *begun, committed, last = fates
    assert set(begun) == {("killed", "running")}
    assert (committed, last) == (("killed", ended), ("settled", ended))
    assert len(begun) >= 3


def _end(database: Database, status: int) -> None:
    """What the killed worker left is lost, done again and ended."""
    with database.begin() as conn:
        now = database.now(conn)
        lost = leases.lapsed(conn, database, limit=9)
        settlements = [decide(task, lapsed(), now=now, jitter=0.0, limits=Limits()) for task in lost]
        assert leases.settle(conn, database, settlements) == set()
    for task in claim_all(database):
        assert settle_one(database, task, answer(status))


def _following(database: Database, task_id: TaskId) -> int:
    with database.read() as conn:
        return conn.execute(select(func.count()).where(tasks.c.parent_id == task_id)).scalar_one()


def _start(program: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
