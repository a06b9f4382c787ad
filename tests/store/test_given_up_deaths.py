"""Dead letters that are deleted: what their deaths blocked goes on."""

from __future__ import annotations

from functools import partial

import pytest

from taskqueue.core.queue import OnDeath
from taskqueue.core.task import FollowUp, Task, TaskState
from taskqueue.store import dead_letters
from taskqueue.store.database import Database
from tests.store.lanes import blocks, define, in_lane, kill_head, letter_of, redrive, run_out
from tests.store.threads import at_once
from tests.support.builders import claim_all, look_up, new_task


@pytest.fixture(autouse=True)
def blocking(database: Database) -> None:
    """The queue of these tests blocks."""
    define(database, OnDeath.BLOCK)


def remove(database: Database, task: Task) -> None:
    with database.begin() as conn:
        assert dead_letters.remove(conn, database, "default", letter_of(database, task))


def test_a_task_that_was_given_up_lets_the_next_go(database: Database) -> None:
    first, second, third = in_lane(database, 3)
    kill_head(database)
    remove(database, first)
    assert run_out(database) == [second.id, third.id]
    assert look_up(database, first.id).state is TaskState.DEAD


def test_a_letter_of_an_earlier_death_resolves_nothing(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    old = letter_of(database, first)
    redrive(database, first)
    kill_head(database)
    with database.begin() as conn:
        assert dead_letters.remove(conn, database, "default", old)
    assert claim_all(database) == []
    remove(database, first)
    assert run_out(database) == [second.id]


def test_a_compensation_of_the_same_key_waits_too(database: Database) -> None:
    undo = FollowUp(task=new_task(ordering_key="a"))
    (first,) = in_lane(database, on_failure=undo)
    kill_head(database)
    assert claim_all(database) == []
    remove(database, first)
    assert len(run_out(database)) == 1


def test_of_two_who_resolve_one_death_at_once_one_is_too_late(database: Database, other: Database) -> None:
    for _ in range(8):
        first, second = in_lane(database, 2)
        kill_head(database)
        given = at_once([partial(redrive, database, first), partial(remove, other, first)])
        assert blocks(database) == []
        ran = run_out(database)
        assert ran[-1] == second.id
        assert len(ran) == (1 if isinstance(given[0], Exception) or given[0] is None else 2)
