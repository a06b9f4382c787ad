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
from taskqueue.core.queue import OnDeath
from taskqueue.core.task import FollowUp, TaskId, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.store.schema import tasks
from tests.store.invariants import faults
from tests.store.lanes import blocks, define, in_lane, kill_head, park_all, redrive, run_out
from tests.support.builders import answer, claim_all, look_up, new_task, settle_one, submit_one
from tests.support.clock import Clock

PROGRAM, DYING = Path(__file__).with_name("traffic.py"), Path(__file__).with_name("dying.py")
ROUNDS, PROCESSES = 3, 2
MANY_LOST = Limits(lost_limit=1000)


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


@pytest.mark.parametrize(
    ("on_death", "what"),
    [
        (OnDeath.BLOCK, "400"),
        (OnDeath.BLOCK, "redrive"),
        (OnDeath.BLOCK, "remove"),
        (OnDeath.PARK, "park"),
    ],
)
def test_a_key_is_blocked_and_let_go_whole_or_not_at_all(
    database: Database, database_url: str, clock: Clock, on_death: OnDeath, what: str
) -> None:
    define(database, on_death)
    first, *others = in_lane(database, 4)
    if what != "400":
        kill_head(database)
    begun_dead = look_up(database, first.id).state is TaskState.DEAD
    step, done = 0, False
    with _start(DYING, database_url) as dying:
        assert dying.stdin is not None
        assert dying.stdout is not None
        while not done:
            print(step, what, clock().total_seconds(), file=dying.stdin, flush=True)
            assert dying.stdout.readline() == "killed\n"
            # That a letter was removed the check of the whole cannot know.
            found = faults(database, limits=MANY_LOST)
            assert [fault for fault in found if "dead letters of generations" not in fault] == []
            resolved = (look_up(database, first.id).state is TaskState.DEAD) != begun_dead
            done = resolved if what in ("400", "redrive") else not blocks(database)
            clock.advance(seconds=20)
            _let_lapse(database)
            step += 1
        dying.stdin.close()
    assert step >= 3
    park_all(database)
    if blocks(database):
        redrive(database, first)
    expected = [] if on_death is OnDeath.PARK else [task.id for task in others]
    assert [task_id for task_id in run_out(database) if task_id != first.id] == expected
    assert {look_up(database, task.id).state.ended for task in (first, *others)} == {True}


def _let_lapse(database: Database) -> None:
    """The lease of the killed worker."""
    with database.begin() as conn:
        now = database.now(conn)
        lost = leases.lapsed(conn, database, limit=9)
        settlements = [decide(task, lapsed(), now=now, jitter=0.0, limits=MANY_LOST) for task in lost]
        assert leases.settle(conn, database, settlements) == set()


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
