"""When the claim looks at a strand: after whatever happens to its tasks, in time, and not in vain."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from taskqueue.core.lifecycle import expire
from taskqueue.core.target import parse_target
from taskqueue.core.task import Task
from taskqueue.core.terms import Limits
from taskqueue.store import dead_letters, leases, strands, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter, Edits
from taskqueue.store.schema import ready, wakes
from taskqueue.store.schema import strands as strands_table
from tests.store.lanes import expire_all
from tests.store.limits import cancel, claim, fill, ids, let_go, limit_flow, strand_of_one, to_host
from tests.store.steps import reclaim, settle_all
from tests.support.builders import LEASE, answer, claim_one, kill_one, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
SOON = timedelta(milliseconds=250)
HOUR = timedelta(hours=1)


def now(database: Database) -> datetime:
    with database.read() as conn:
        return database.now(conn)


def settled(database: Database) -> Any:
    """The only strand, after a claim that takes in what it was told and finds nothing that may start."""
    assert claim(database).tasks == []
    return strand_of_one(database)


def count_strands(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(select(func.count()).select_from(strands_table)).scalar_one())


def forget_empty(database: Database) -> int:
    with database.begin() as conn:
        return strands.forget_empty(conn, limit=100)


def wake_overlooked(database: Database) -> int:
    with database.begin() as conn:
        return strands.wake_overlooked(conn, database, limit=100)


def test_a_strand_whose_tasks_all_run_is_not_looked_at(database: Database) -> None:
    fill(database, 3)
    assert len(claim(database).tasks) == 3
    assert settled(database).look_at is None


def test_a_strand_that_has_more_is_due_still(database: Database) -> None:
    fill(database, 3)
    claim(database, 2)
    strand = strand_of_one(database)
    assert strand.look_at <= now(database)
    assert strand.look_at == strand.turn_at


def test_a_strand_is_looked_at_when_its_next_task_is_due(database: Database) -> None:
    later = submit_one(database, delay=HOUR)
    submit_one(database, delay=2 * HOUR)
    assert settled(database).look_at == later.not_before
    sooner = submit_one(database, delay=HOUR / 2)
    assert settled(database).look_at == sooner.not_before
    submit_one(database)
    assert len(claim(database).tasks) == 1
    assert strand_of_one(database).look_at == sooner.not_before


def test_a_full_strand_is_looked_at_soon_and_keeps_its_turn(database: Database) -> None:
    limit_flow(database, "a", concurrency=1)
    fill(database, 1, flow_key="a", priority=9)
    running = claim_one(database)
    fill(database, 1, flow_key="a")
    for _ in range(2):
        claim(database)
        with database.read() as conn:
            full = conn.execute(select(strands_table).where(strands_table.c.priority == 5)).one()
        assert full.blocked_on == "flow a"
        assert timedelta(0) < full.look_at - full.turn_at - timedelta(seconds=1) < timedelta(seconds=5)
    settle_one(database, running, answer(200))
    assert len(claim(database).tasks) == 1


def test_a_retry_wakes_its_strand_for_its_own_instant(database: Database) -> None:
    submit_one(database)
    settle_one(database, claim_one(database), answer(500))
    with database.read() as conn:
        due = conn.execute(select(ready.c.not_before)).scalar_one()
    assert due > now(database)
    assert settled(database).look_at == due


def test_run_now_wakes_the_strand(database: Database) -> None:
    task = submit_one(database, delay=HOUR)
    assert settled(database).look_at == task.not_before
    with database.begin() as conn:
        tasks.run_now(conn, database, "default", task.id)
    assert ids(claim(database).tasks) == [task.id]


def test_a_strand_of_which_all_was_cancelled_falls_asleep(database: Database, clock: Clock) -> None:
    waiting = fill(database, 2, delay=HOUR)
    assert settled(database).look_at == waiting[0].not_before
    cancel(database, *waiting)
    clock.advance(hours=2)
    assert settled(database).look_at is None
    assert claim(database).next_due is None


def test_a_strand_of_which_all_has_expired_falls_asleep(database: Database, clock: Clock) -> None:
    fill(database, 2, expires_in=HOUR)
    clock.advance(hours=2)
    assert settled(database).look_at is None
    assert claim(database).next_due is None
    with database.begin() as conn:
        late = leases.expired(conn, database, limit=10)
        leases.settle(conn, database, [expire(task, now=database.now(conn)) for task in late])
    assert forget_empty(database) == 1


@pytest.mark.parametrize("end", ["succeeded", "died", "cancelled", "let go", "expired", "lost"])
def test_the_next_of_an_ordering_key_is_looked_at_when_the_former_is_gone(
    database: Database, clock: Clock, end: str
) -> None:
    first = submit_one(
        database, ordering_key="a", expires_in=HOUR, delay=HOUR / 2 if end == "expired" else timedelta(0)
    )
    # In another strand: the end of the one must wake the other.
    second = submit_one(database, ordering_key="a", priority=7, **to_host("another.example"))
    running = claim(database).tasks
    if end in ("succeeded", "died"):
        settle_all(database, running, 200 if end == "succeeded" else 400)
    elif end == "cancelled":
        settle_one(database, running[0], answer(500))
        cancel(database, first)
    elif end == "let go":
        cancel(database, *running)
        assert claim(database).tasks == []
        let_go(database, *running)
    elif end == "expired":
        clock.advance(hours=1.1)
        expire_all(database)
    else:
        clock.advance(seconds=LEASE.total_seconds() + 1)
        reclaim(database, Limits(lost_limit=0))
    assert ids(claim(database).tasks) == [second.id]


def test_an_edited_redrive_waits_in_the_strand_of_its_new_host_and_its_retry_too(
    database: Database, clock: Clock
) -> None:
    dead = kill_one(database)
    assert claim(database).tasks == []
    forget_empty(database)
    with database.begin() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).items
        edits = Edits(target=parse_target("https://moved.example/work"))
        dead_letters.redrive(conn, database, "default", letter.id, edits)
    limit_flow(database, "https://moved.example:443", concurrency=1)
    settle_one(database, claim_one(database), answer(500))
    assert strand_of_one(database).origin == "https://moved.example:443"
    clock.advance(minutes=1)
    again = claim_one(database)
    assert again.id == dead.id
    other_one = submit_one(database, **to_host("moved.example"))
    assert claim(database).tasks == []
    clock.advance(seconds=LEASE.total_seconds() + 1)
    reclaim(database)
    (first,) = claim(database).tasks
    settle_one(database, first, answer(200))
    (second,) = claim(database).tasks
    assert {first.id, second.id} == {dead.id, other_one.id}


def test_only_strands_in_which_nothing_waits_are_forgotten(database: Database) -> None:
    fill(database, 1, flow_key="due")
    submit_one(database, flow_key="later", delay=HOUR)
    settle_all(database, claim(database).tasks, 200)
    assert (claim(database).tasks, count_strands(database)) == ([], 2)
    assert forget_empty(database) == 1
    assert count_strands(database) == 1
    assert forget_empty(database) == 0


def test_a_strand_that_was_forgotten_is_made_again_by_whoever_comes(database: Database, clock: Clock) -> None:
    first = submit_one(database)
    running = claim_one(database)
    assert claim(database).tasks == []
    assert forget_empty(database) == 1
    settle_one(database, running, answer(500))  # its retry waits again
    clock.advance(minutes=1)
    assert ids(claim(database).tasks) == [first.id]
    assert claim(database).tasks == []
    assert forget_empty(database) == 1
    second = submit_one(database)
    assert ids(claim(database).tasks) == [second.id]


@pytest.mark.postgres
def test_a_strand_that_is_being_forgotten_while_somebody_adds_to_it_is_made_again(postgres_url: str) -> None:
    database, other = Database.open(postgres_url), Database.open(postgres_url)
    try:
        fill(database, 1)
        settle_all(database, claim(database).tasks, 200)
        assert claim(database).tasks == []
        claimed: list[Task] = []
        claimer = threading.Thread(target=lambda: claimed.extend(claim(other).tasks))
        with database.begin() as conn:
            assert strands.forget_empty(conn, limit=10) == 1
            task = submit_one(other)
            claimer.start()  # it is told of the strand, which is there as long as nobody commits
            claimer.join(0.3)
        claimer.join(30)
        assert ids(claimed + claim(other).tasks) == [task.id]
    finally:
        database.close()
        other.close()


def test_tasks_of_an_older_version_are_placed_a_batch_at_a_time(database: Database) -> None:
    submitted = [*fill(database, 3), *fill(database, 2, flow_key="a", priority=7), *fill(database, 2, ordering_key="b")]
    with database.begin() as conn:
        for table in (strands_table, wakes):
            conn.execute(delete(table))
        conn.execute(update(ready).values(strand=None))
    assert claim(database).tasks == []
    placed = []
    for _ in range(4):
        with database.begin() as conn:
            placed.append(strands.place_older(conn, database, limit=4))
    assert placed == [4, 2, 0, 0]
    claimed = claim(database).tasks
    assert sorted(ids(claimed)) == sorted(ids(submitted[:-1]))
    settle_all(database, claimed, 200)
    assert claim(database).tasks == []  # its turn has come, but nobody has placed it
    with database.begin() as conn:
        assert strands.place_older(conn, database, limit=4) == 1
    assert ids(claim(database).tasks) == [submitted[-1].id]


def test_a_task_of_an_older_version_that_ran_is_placed_once_it_waits_again(database: Database, clock: Clock) -> None:
    task = submit_one(database)
    running = claim_one(database)
    with database.begin() as conn:
        conn.execute(update(ready).values(strand=None))
        conn.execute(delete(strands_table))
    settle_one(database, running, answer(500))
    with database.begin() as conn:
        assert strands.place_older(conn, database, limit=4) == 1
    clock.advance(minutes=1)
    assert ids(claim(database).tasks) == [task.id]


@pytest.mark.parametrize("fault", ["asleep", "gone"])
def test_should_a_strand_be_overlooked_it_is_found_and_woken(database: Database, fault: str) -> None:
    (task,) = fill(database, 1)
    submit_one(database, flow_key="later", delay=HOUR)
    assert wake_overlooked(database) == 0  # nobody has claimed yet, which is not a fault
    with database.begin() as conn:
        conn.execute(delete(wakes))
        conn.execute(update(strands_table).values(look_at=None) if fault == "asleep" else delete(strands_table))
    assert claim(database).tasks == []
    woken = wake_overlooked(database)
    assert ids(claim(database).tasks) == [task.id]
    assert woken == 2
    assert wake_overlooked(database) == 0
