"""Of a chain, each task is forgotten in its own time, and what is still there can be seen."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.task import FollowUp, TaskId
from taskqueue.store import dead_letters, retention, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from tests.support.builders import answer, claim_one, kill_one, new_task, settle_one, submit_one
from tests.support.clock import Clock

ENDED, DEAD = timedelta(days=14), timedelta(days=30)


def prune(database: Database) -> None:
    with database.begin() as conn:
        retention.prune(conn, database, ended=ENDED, dead=DEAD)


def chain(database: Database, task_id: TaskId) -> list[TaskId] | None:
    with database.read() as conn:
        found = tasks.chain(conn, "default", task_id)
    return None if found is None else [task.id for task in found]


def test_a_follow_up_outlives_its_parent(database: Database, clock: Clock) -> None:
    later = FollowUp(task=new_task(delay=timedelta(days=20)))
    parent = submit_one(database, on_success=later)
    settle_one(database, claim_one(database), answer(200))
    family = chain(database, parent.id)
    assert family is not None
    _, child = family
    clock.advance(days=15)
    prune(database)
    assert (chain(database, parent.id), chain(database, child)) == (None, [child])
    clock.advance(days=6)
    running = claim_one(database)
    assert (running.id, running.spec.root_id) == (child, parent.id)
    assert settle_one(database, running, answer(200))
    clock.advance(days=15)
    prune(database)
    assert chain(database, child) is None


def test_a_dead_parent_outlives_its_compensation(database: Database, clock: Clock) -> None:
    parent = kill_one(database, on_failure=FollowUp(task=new_task()))
    undo = claim_one(database)
    settle_one(database, undo, answer(200))
    clock.advance(days=15)
    prune(database)
    assert (chain(database, parent.id), chain(database, undo.id)) == ([parent.id], None)
    with database.read() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=9).items
    assert letter.compensation_id == undo.id


@pytest.mark.parametrize("days", [15, 31])
def test_siblings_are_seen_from_each_other_without_their_parent(database: Database, clock: Clock, days: int) -> None:
    step = FollowUp(task=new_task(delay=timedelta(days=40), expires_in=timedelta(days=99)))
    parent = submit_one(database, on_success=FollowUp(task=new_task(on_success=step)))
    for _ in range(2):
        settle_one(database, claim_one(database), answer(200))
    family = chain(database, parent.id)
    assert family is not None
    assert len(family) == 3
    clock.advance(days=days)
    prune(database)
    assert chain(database, family[2]) == [family[2]]
