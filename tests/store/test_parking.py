"""A death that parks: what waited behind it is set aside in order, and what comes later runs."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from taskqueue.core.queue import OnDeath
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import FollowUp, Task, TaskState, WebhookEvent
from taskqueue.store import dead_letters, operations, parking, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.schema import dead_letters as dead_letters_table
from taskqueue.store.schema import order_blocks, ready
from taskqueue.store.schema import tasks as tasks_table
from tests.store.invariants import faults
from tests.store.lanes import (
    advance_all,
    blocks,
    define,
    expire_all,
    in_lane,
    kill_head,
    letter_of,
    park_all,
    redrive,
    run_out,
    unblock,
)
from tests.store.steps import decided, settle
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
ALL_PARKED = DeadLetterFilter(reason="parked")


@pytest.fixture(autouse=True)
def parks(database: Database) -> None:
    """The queue of these tests parks."""
    define(database, OnDeath.PARK)


def park_some(database: Database, limit: int) -> parking.Parked | None:
    with database.begin() as conn:
        return parking.step(conn, database, limit=limit)


def reasons(database: Database, *those: Task) -> list[DeadReason | None]:
    endings = [look_up(database, task.id).ending for task in those]
    return [ending.reason if ending else None for ending in endings]


def bring_back(database: Database, wanted: DeadLetterFilter = ALL_PARKED) -> int:
    with database.begin() as conn:
        operations.start_redrive(conn, database, "default", wanted, rate=None)
    with database.begin() as conn:
        return operations.advance(conn, database)


def test_all_that_waited_behind_a_dead_task_is_parked_and_later_tasks_run(database: Database) -> None:
    first, second, third = in_lane(database, 3)
    kill_head(database)
    (late,) = in_lane(database)
    assert claim_all(database) == [], "nothing starts before the last is parked"
    (block,) = blocks(database)
    assert (block.on_death, block.task_id, block.waiting) == (OnDeath.PARK, first.id, 3)
    parked = park_some(database, 10)
    assert parked == parking.Parked(first.id, "default", 2, done=True)
    assert reasons(database, first, second, third, late) == [
        DeadReason.REJECTED,
        DeadReason.PARKED,
        DeadReason.PARKED,
        None,
    ]
    assert blocks(database) == []
    assert run_out(database) == [late.id]
    assert park_some(database, 10) is None


def test_a_death_with_nobody_behind_it_holds_its_key_for_a_moment_only(database: Database) -> None:
    in_lane(database)
    kill_head(database)
    assert park_all(database) == 1
    (late,) = in_lane(database)
    assert late.held is False


def test_parking_goes_on_batch_after_batch(database: Database) -> None:
    first, *others = in_lane(database, 8)
    kill_head(database)
    (late,) = in_lane(database)
    done = []
    while (parked := park_some(database, 3)) is not None:
        done.append((parked.count, parked.done))
        assert faults(database) == []
        assert claim_all(database) == [] or parked.done
        if not parked.done:
            in_lane(database)
    assert done == [(3, False), (3, False), (1, True)]
    assert set(reasons(database, *others)) == {DeadReason.PARKED}
    assert look_up(database, late.id).state is TaskState.RUNNING
    assert first.id not in {other.id for other in others}


def test_parked_tasks_come_back_in_the_order_of_their_acceptance(database: Database) -> None:
    first, *others = in_lane(database, 7)
    kill_head(database)
    park_all(database, limit=2)
    assert bring_back(database) == 6
    redrive(database, first)
    assert run_out(database) == [*(task.id for task in others), first.id]


def test_the_order_of_the_letters_is_no_matter_of_clocks(database: Database) -> None:
    in_lane(database, 5)
    kill_head(database)
    ahead = UUID(int=UUID("02000000-0000-7000-8000-000000000000").int)  # of a machine whose clock is years ahead
    with database.begin() as conn:
        conn.execute(update(order_blocks).values(last_letter=ahead))
    park_all(database, limit=3)
    with database.read() as conn:
        found = conn.execute(
            select(dead_letters_table.c.task_id, dead_letters_table.c.id)
            .where(dead_letters_table.c.reason == "parked")
            .order_by(dead_letters_table.c.id)
        ).all()
    assert [row.id.int - ahead.int for row in found] == [1, 2, 3, 4]
    assert [row.task_id for row in found] == sorted(row.task_id for row in found)


def test_a_parked_task_ends_like_any_other(database: Database) -> None:
    undo = FollowUp(task=new_task(), match=("reason:parked",))
    in_lane(database)
    (second,) = in_lane(database, webhook_url="https://caller.example/hook", on_failure=undo)
    kill_head(database)
    park_all(database)
    with database.read() as conn:
        (told,) = tasks.webhooks(conn, "default", second.id)
        letter = dead_letters.get(conn, "default", letter_of(database, second))
    assert told.spec.cause is not None
    assert letter is not None
    assert (letter.reason, letter.cls, letter.compensation_id is None) == (DeadReason.PARKED, None, False)
    assert WebhookEvent.DEAD in second.spec.webhook_events


def test_a_compensation_of_the_same_key_is_not_parked(database: Database) -> None:
    undo = FollowUp(task=new_task(ordering_key="a"))
    first, second = in_lane(database, 2, on_failure=undo)
    kill_head(database)
    park_all(database)
    with database.read() as conn:
        chains = [tasks.chain(conn, "default", task.id) for task in (first, second)]
    assert run_out(database) == [chain[1].id for chain in chains if chain]


def test_who_dies_while_it_waits_parks_those_behind_it_alone(database: Database, clock: Clock) -> None:
    (first,) = in_lane(database)
    (second,) = in_lane(database, expires_in=timedelta(seconds=10))
    (third,) = in_lane(database)
    clock.advance(seconds=11)
    expire_all(database)
    park_all(database)
    assert reasons(database, first, second, third) == [None, DeadReason.EXPIRED, DeadReason.PARKED]
    assert run_out(database) == [first.id]


def test_who_expires_before_it_is_parked_parks_nobody_else(database: Database, clock: Clock) -> None:
    in_lane(database)
    (second,) = in_lane(database, expires_in=timedelta(seconds=10))
    kill_head(database)
    (late,) = in_lane(database)
    clock.advance(seconds=11)
    expire_all(database)
    park_all(database)
    assert reasons(database, second, late) == [DeadReason.EXPIRED, None]
    assert run_out(database) == [late.id]


def test_several_who_die_at_once_have_all_parked_that_waited(database: Database, clock: Clock) -> None:
    in_lane(database, 2, expires_in=timedelta(seconds=10))
    (third,) = in_lane(database)
    clock.advance(seconds=11)
    expire_all(database)
    (late,) = in_lane(database)
    assert len(blocks(database)) == 1
    park_all(database)
    assert reasons(database, third, late) == [DeadReason.PARKED, None]


def test_a_redrive_while_others_are_parked_comes_after_them(database: Database) -> None:
    first, _, _ = in_lane(database, 3)
    kill_head(database)
    park_some(database, 1)
    (late,) = in_lane(database)
    assert redrive(database, first).held
    park_all(database)
    assert run_out(database) == [late.id, first.id]


def test_parking_stops_when_the_key_is_unblocked(database: Database) -> None:
    _, second, third = in_lane(database, 3)
    kill_head(database)
    park_some(database, 1)
    assert unblock(database) == 1
    assert park_all(database) == 0
    assert reasons(database, second, third) == [DeadReason.PARKED, None]
    assert run_out(database) == [third.id]


def test_parking_stops_when_its_queue_skips_from_now_on(database: Database) -> None:
    _, second = in_lane(database, 2)
    kill_head(database)
    define(database, OnDeath.BLOCK)
    assert advance_all(database) == 0
    define(database, OnDeath.SKIP)
    assert advance_all(database) == 1
    assert run_out(database) == [second.id]


def test_a_task_that_was_cancelled_is_not_parked(database: Database) -> None:
    _, second, third = in_lane(database, 3)
    kill_head(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", second.id)
    park_all(database)
    assert look_up(database, second.id).state is TaskState.CANCELLED
    assert reasons(database, third) == [DeadReason.PARKED]


def test_the_lanes_take_turns(database: Database) -> None:
    heads = {key: in_lane(database, 4, key=key)[0].id for key in "abc"}
    settle(database, *(decided(database, task, answer(400)) for task in claim_all(database)))
    order = [parked.behind for _ in range(6) if (parked := park_some(database, 1)) is not None]
    assert set(order[:3]) == set(heads.values())
    assert order[:3] == order[3:]


def test_one_that_cannot_be_parked_stops_no_other(database: Database) -> None:
    first, second, third = in_lane(database, 3)
    kill_head(database)
    blocked = letter_of(database, first)
    with database.begin() as conn:  # a letter of the second is there already: a fault of ours, whatever it was
        row = conn.execute(select(dead_letters_table).where(dead_letters_table.c.id == blocked)).one()._mapping
        odd = {**row, "id": UUID(int=1), "task_id": second.id}
        conn.execute(insert(dead_letters_table).values(odd))
    parked = park_some(database, 10)
    assert parked == parking.Parked(first.id, "default", 1, done=False)
    with pytest.raises(Exception, match=r"(?i)unique"):
        park_some(database, 10)
    with database.begin() as conn:
        assert dead_letters.remove(conn, database, "default", odd["id"])
    park_all(database)
    assert reasons(database, second, third) == [DeadReason.PARKED, DeadReason.PARKED]


def test_workers_that_park_at_once_park_each_once(database: Database, other: Database) -> None:
    _, *others = in_lane(database, 30)
    kill_head(database)

    def work(store: Database) -> int:
        return park_all(store, limit=4)

    results(at_once([partial(work, store) for store in (database, other)]))
    assert set(reasons(database, *others)) == {DeadReason.PARKED}
    assert bring_back(database) == 29
    assert run_out(database) == [task.id for task in others]


def test_submits_while_others_are_parked_are_lost_to_nobody(database: Database, other: Database) -> None:
    for _ in range(6):
        in_lane(database, 4)
        death = decided(database, claim_one(database), answer(400))

        def submit_and_park(death: object = death) -> list[Task]:
            return in_lane(other, 2)

        given = at_once([partial(settle, database, death), submit_and_park, partial(park_all, other, limit=1)])  # type: ignore[arg-type]
        results(given)
        park_all(database, limit=1)
        assert faults(database) == []
        for running in claim_all(database):
            assert settle_one(database, running, answer(200))
        run_out(database)
        with database.read() as conn:
            assert conn.execute(select(ready.c.task_id)).all() == []
            assert conn.execute(select(tasks_table.c.id)).all() != []
