"""Bulk redrives: at their rate by the database's clock, each letter once whoever works on it, and never stuck."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import update

from taskqueue.core.task import FollowUp, Kind, Task, TaskState
from taskqueue.store import dead_letters, operations
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.operations import BATCH, Operation
from taskqueue.store.schema import tasks as tasks_table
from tests.store.steps import settle_all
from tests.store.threads import at_once, results
from tests.support.builders import claim_all, kill_one, look_up, new_task, submit
from tests.support.clock import Clock

FOREVER = timedelta(hours=1)  # a busy machine must not cut a step short

pytestmark = pytest.mark.usefixtures("sound")
ALL = DeadLetterFilter()


def kill(database: Database, count: int, *, project: str = "default", queue: str = "default") -> list[Task]:
    """So many dead tasks."""
    submitted = submit(database, *(new_task(project=project, queue=queue) for _ in range(count))).tasks
    settle_all(database, claim_all(database, limit=count), 400)
    return [look_up(database, task.id, project=project) for task in submitted]


def start(
    database: Database, wanted: DeadLetterFilter = ALL, *, rate: float | None = None, project: str = "default"
) -> Operation:
    with database.begin() as conn:
        return operations.start_redrive(conn, database, project, wanted, rate=rate)


def advance(database: Database, *, step: timedelta = FOREVER) -> int:
    with database.begin() as conn:
        return operations.advance(conn, database, step=step)


def get(database: Database, operation: Operation) -> Operation:
    with database.read() as conn:
        found = operations.get(conn, operation.project, operation.id)
    assert found is not None
    return found


def advance_until_done(database: Database, operation: Operation, *, turns: int = 100) -> int:
    for turn in range(1, turns):
        advance(database)
        if get(database, operation).finished_at is not None:
            return turn
    raise AssertionError(f"not done after {turns} turns: {get(database, operation)}")


def clock_of(database: Database) -> datetime:
    """The database's time, which also goes on by itself: a slow machine earns more than the steps by hand."""
    with database.read() as conn:
        return database.now(conn)


def queued(database: Database, tasks: list[Task]) -> int:
    return sum(look_up(database, task.id).state is TaskState.QUEUED for task in tasks)


def test_every_letter_that_fits_is_redriven(database: Database) -> None:
    mail, other = kill(database, 5, queue="mail"), kill(database, 3, queue="other")
    operation = start(database, DeadLetterFilter(queue="mail"))
    assert (operation.matched, operation.done, operation.finished_at, operation.verb) == (5, 0, None, "redrive")
    advance_until_done(database, operation)
    done = get(database, operation)
    assert (done.matched, done.done) == (5, 5)
    assert (queued(database, mail), queued(database, other)) == (5, 0)


def test_an_operation_with_nothing_to_do_ends(database: Database) -> None:
    operation = start(database)
    assert operation.matched == 0
    advance_until_done(database, operation)


def test_without_a_rate_it_goes_batch_by_batch(database: Database) -> None:
    kill(database, BATCH + 5)
    operation = start(database)
    assert [advance(database) for _ in range(3)] == [BATCH, 5, 0]
    assert get(database, operation).finished_at is not None


def test_a_rate_is_kept_by_the_databases_clock(database: Database, clock: Clock) -> None:
    kill(database, 30)
    operation = start(database, rate=5)
    done = [advance(database)]
    for _ in range(5):
        clock.advance(seconds=1)
        done.append(advance(database))
    assert done[0] < 5
    assert done[1:] == [5] * 5
    assert get(database, operation).done == sum(done)


def test_a_rate_is_not_saved_up_while_nobody_works(database: Database, clock: Clock) -> None:
    kill(database, 30)
    start(database, rate=5)
    clock.advance(hours=1)
    assert advance(database) == 5


def test_what_two_looks_in_a_second_give_together_keeps_to_the_rate(database: Database, clock: Clock) -> None:
    kill(database, 30)
    began = clock_of(database)
    start(database, rate=4)
    done = 0
    for _ in range(20):
        clock.advance(seconds=0.25)
        done += advance(database)
    assert 15 <= done <= 4 * (clock_of(database) - began).total_seconds()


@pytest.mark.parametrize("rate", [0.3, 0.7, 1 / 3, 0.9, 1.1, 3.0])
def test_a_rate_of_any_size_goes_on(database: Database, clock: Clock, rate: float) -> None:
    dead = kill(database, 4)
    began = clock_of(database)
    operation = start(database, rate=rate)
    while get(database, operation).finished_at is None:
        clock.advance(seconds=1)
        advance(database)
        seconds = (clock_of(database) - began).total_seconds()
        assert seconds < 60, "stuck"
    assert queued(database, dead) == 4
    # The last letter, and then a look that finds no more.
    assert seconds >= 4 / rate - 1


def test_a_slow_operation_does_not_hold_up_a_fast_one(database: Database, clock: Clock) -> None:
    kill(database, 3, queue="slow")
    fast = kill(database, 20, queue="fast")
    slow_one = start(database, DeadLetterFilter(queue="slow"), rate=0.01)
    fast_one = start(database, DeadLetterFilter(queue="fast"))
    for _ in range(2):
        clock.advance(seconds=1)
        advance(database)
    assert get(database, fast_one).done == len(fast)
    assert get(database, fast_one).finished_at is not None
    assert get(database, slow_one).finished_at is None


def test_operations_without_a_rate_take_turns(database: Database) -> None:
    kill(database, BATCH + 1, queue="a")
    kill(database, 3, queue="b")
    both = [start(database, DeadLetterFilter(queue=queue)) for queue in "ab"]
    for _ in range(2):
        advance(database)
    assert [get(database, each).done for each in both] == [BATCH, 3]


def test_a_step_that_takes_too_long_ends_with_what_it_has_done(database: Database) -> None:
    kill(database, 3)
    operation = start(database)
    assert [advance(database, step=timedelta(0)) for _ in range(4)] == [1, 1, 1, 0]
    assert get(database, operation).finished_at is not None


def test_two_workers_that_advance_at_once_redrive_each_letter_once(database: Database, other: Database) -> None:
    dead = kill(database, 120)
    operation = start(database)
    done = sum(results(at_once([partial(advance, store) for store in (database, other) * 3])))
    while get(database, operation).finished_at is None:
        done += advance(database)
    assert done == get(database, operation).done == 120
    assert {look_up(database, task.id).progress.generation for task in dead} == {2}


def test_two_workers_keep_to_one_rate(database: Database, other: Database, clock: Clock) -> None:
    kill(database, 40)
    began = clock_of(database)
    start(database, rate=5)
    done = 0
    for _ in range(4):
        clock.advance(seconds=1)
        done += sum(results(at_once([partial(advance, store) for store in (database, other)])))
    assert done <= 5 * (clock_of(database) - began).total_seconds()


def test_pressing_twice_does_not_redrive_twice(database: Database) -> None:
    dead = kill(database, 20)
    first, second = start(database), start(database)
    advance_until_done(database, first)
    advance_until_done(database, second)
    assert (first.matched, second.matched) == (20, 20)
    assert get(database, first).done + get(database, second).done == 20
    assert {look_up(database, task.id).progress.generation for task in dead} == {2}


def test_one_redriven_by_hand_meanwhile_is_passed_over(database: Database) -> None:
    dead = kill(database, 3)
    operation = start(database)
    with database.begin() as conn:
        letters = dead_letters.search(conn, "default", ALL, cursor=None, limit=10).items
        dead_letters.redrive(conn, database, "default", letters[1].id)
    assert get(database, operation).skipped == 0, "nobody can tell before the end"
    advance_until_done(database, operation)
    ended = get(database, operation)
    assert (ended.matched, ended.done, ended.skipped, ended.failed) == (3, 2, 1, 0)
    assert {look_up(database, task.id).progress.generation for task in dead} == {2}


def test_a_compensated_death_is_passed_over(database: Database) -> None:
    compensated = kill_one(database, on_failure=FollowUp(task=new_task(delay=timedelta(hours=1))))
    plain = kill_one(database)
    operation = start(database)
    advance_until_done(database, operation)
    found = get(database, operation)
    assert (found.matched, found.done, found.failed, found.skipped) == (2, 1, 0, 1)
    states = [look_up(database, task.id).state for task in (compensated, plain)]
    assert states == [TaskState.DEAD, TaskState.QUEUED]


def test_one_that_cannot_be_redriven_is_counted_and_stops_no_other(database: Database) -> None:
    dead = kill(database, 3)
    odd = update(tasks_table).where(tasks_table.c.id == dead[1].id)
    with database.begin() as conn:  # as a newer version may write it, one whose waits this version cannot read
        conn.execute(odd.values(backoff=b'{"type": "fibonacci"}'))
    operation = start(database)
    advance_until_done(database, operation)
    ended = get(database, operation)
    assert (ended.matched, ended.done, ended.skipped, ended.failed) == (3, 2, 0, 1)
    with database.begin() as conn:
        conn.execute(odd.values(backoff=None))
    assert [look_up(database, task.id).progress.generation for task in dead] == [2, 1, 2]
    again = start(database)
    advance_until_done(database, again)
    assert get(database, again).done == 1


def test_what_dies_later_is_no_part_of_it(database: Database, clock: Clock) -> None:
    kill(database, 2)
    operation = start(database, DeadLetterFilter(include_redriven=True))
    clock.advance(seconds=1)
    later = kill(database, 2)
    advance_until_done(database, operation)
    assert get(database, operation).done == 2
    assert queued(database, later) == 0


def test_a_narrower_end_is_kept(database: Database, clock: Clock) -> None:
    early = kill(database, 2)
    clock.advance(hours=1)
    with database.read() as conn:
        middle = database.now(conn)
    clock.advance(hours=1)
    kill(database, 2)
    operation = start(database, DeadLetterFilter(before=middle))
    assert operation.matched == 2
    advance_until_done(database, operation)
    assert queued(database, early) == 2


def test_every_condition_survives_until_it_is_carried_on(database: Database) -> None:
    (dead,) = kill(database, 1)
    assert dead.ending is not None
    with database.read() as conn:
        (letter,) = dead_letters.search(conn, "default", ALL, cursor=None, limit=1).items
    wanted = DeadLetterFilter(
        task_id=dead.id,
        kind=Kind.TASK,
        queue="default",
        cls="bad_request",
        reason="rejected",
        fingerprint=letter.fingerprint,
        target_host="target.example",
        after=letter.died_at - timedelta(seconds=1),
        before=letter.died_at + timedelta(seconds=1),
    )
    operation = start(database, wanted)
    advance_until_done(database, operation)
    assert get(database, operation).done == 1


def test_each_project_sees_its_own_operations_and_redrives_its_own_letters(database: Database) -> None:
    theirs = kill(database, 2, project="theirs")
    mine = kill(database, 1)
    operation = start(database)
    assert operation.matched == 1
    advance_until_done(database, operation)
    with database.read() as conn:
        assert operations.get(conn, "theirs", operation.id) is None
    assert queued(database, mine) == 1
    assert {look_up(database, task.id, project="theirs").state for task in theirs} == {TaskState.DEAD}


def test_bulk_redrives_and_submits_in_the_same_lanes_get_along(database: Database, other: Database) -> None:
    names = [f"lane-{number}" for number in range(10)]
    submit(database, *(new_task(ordering_key=name) for name in names))
    settle_all(database, claim_all(database), 400)
    operation = start(database)

    def enter(store: Database) -> int:
        return len(submit(store, *(new_task(ordering_key=name) for name in names[::-1])).tasks)

    for _ in range(3):
        results(at_once([partial(advance, database), partial(enter, other), partial(enter, database)]))
    advance_until_done(database, operation)
    assert get(database, operation).done == 10
