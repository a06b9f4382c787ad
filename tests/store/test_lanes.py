"""Ordering keys: one at a time, in commit order, whoever submits, settles, cancels or redrives (promise A11)."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select

from taskqueue.core.errors import Conflict
from taskqueue.core.outcome import lapsed as lapsed_outcome
from taskqueue.core.task import Task, TaskId, TaskState
from taskqueue.store import dead_letters, leases, submissions, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.schema import ready
from taskqueue.store.submissions import Submission
from tests.store.invariants import faults
from tests.store.lanes import in_lane, redrive, run_out
from tests.store.limits import cancel, let_go
from tests.store.steps import decided, settle, settle_all
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
HOUR = timedelta(hours=1)


def run_now(database: Database, task: Task) -> Task:
    with database.begin() as conn:
        found = tasks.run_now(conn, database, "default", task.id)
    assert found is not None
    return found


def positions(database: Database) -> dict[TaskId, int]:
    with database.read() as conn:
        return {row.task_id: row.lane_position for row in conn.execute(select(ready.c.task_id, ready.c.lane_position))}


def test_tasks_of_one_key_run_one_at_a_time_in_order(database: Database) -> None:
    submitted = in_lane(database, 5)
    assert [task.held for task in submitted] == [False, True, True, True, True]
    for task in submitted:
        assert [each.id for each in claim_all(database)] == [task.id]
        assert claim_all(database) == []
        settle_all(database, [look_up(database, task.id)], 200)


def test_keys_queues_and_projects_are_lanes_of_their_own(database: Database) -> None:
    for _ in range(2):
        for key, queue, project in [("a", "q", "p"), ("b", "q", "p"), ("a", "r", "p"), ("a", "q", "o")]:
            submit_one(database, ordering_key=key, queue=queue, project=project)
    submit_one(database)
    assert len(claim_all(database)) == 5


@pytest.mark.parametrize("status", [200, 400])
def test_the_next_goes_when_the_former_ended_well_or_badly(database: Database, status: int) -> None:
    first, second = in_lane(database, 2)
    settle_all(database, claim_all(database), status)
    assert claim_one(database).id == second.id
    assert look_up(database, first.id).state.ended


def test_a_head_that_waits_for_its_retry_holds_its_lane(database: Database, clock: Clock) -> None:
    first, second = in_lane(database, 2)
    settle_one(database, claim_one(database), answer(500), jitter=1.0)
    assert claim_all(database) == []
    clock.advance(seconds=3)
    again = claim_one(database)
    assert again.id == first.id
    settle_one(database, again, answer(200))
    assert claim_one(database).id == second.id


def test_a_head_that_is_due_later_holds_its_lane(database: Database, clock: Clock) -> None:
    (first,) = in_lane(database, delay=HOUR)
    in_lane(database, 2)
    assert claim_all(database) == []
    clock.advance(minutes=61)
    assert run_out(database)[0] == first.id


def test_a_head_whose_worker_was_lost_runs_again_before_the_next(database: Database, clock: Clock) -> None:
    first, _ = in_lane(database, 2)
    lost = claim_one(database)
    clock.advance(seconds=16)
    assert settle(database, decided(database, lost, lapsed_outcome())) == set()
    assert [task.id for task in claim_all(database)] == [first.id]


def test_a_cancelled_waiting_head_lets_the_next_go_at_once(database: Database) -> None:
    first, second, third = in_lane(database, 3)
    cancel(database, first)
    assert claim_one(database).id == second.id
    assert claim_all(database) == []
    assert look_up(database, third.id).held


def test_a_cancelled_running_head_holds_its_lane_until_it_is_off_the_wire(database: Database) -> None:
    _, second = in_lane(database, 2)
    running = claim_one(database)
    cancel(database, running)
    assert claim_all(database) == []
    let_go(database, running)
    assert claim_one(database).id == second.id


def test_a_cancelled_running_head_whose_worker_died_holds_its_lane_until_its_lease_lapsed(
    database: Database, clock: Clock
) -> None:
    _, second = in_lane(database, 2)
    cancel(database, claim_one(database))
    clock.advance(seconds=16)
    with database.read() as conn:
        (stone,) = leases.lapsed(conn, database, limit=10)
    assert claim_all(database) == []
    let_go(database, stone)
    assert claim_one(database).id == second.id


def test_who_enters_behind_a_tombstone_waits_for_it(database: Database) -> None:
    in_lane(database)
    running = claim_one(database)
    cancel(database, running)
    (late,) = in_lane(database)
    assert late.held
    let_go(database, running)
    assert claim_one(database).id == late.id


def test_a_cancelled_task_in_the_middle_leaves_the_order_as_it_was(database: Database) -> None:
    first, second, third = in_lane(database, 3)
    cancel(database, second)
    assert run_out(database) == [first.id, third.id]


def test_a_redriven_task_joins_the_tail(database: Database) -> None:
    first, *others = in_lane(database, 3)
    settle_all(database, claim_all(database), 400)
    revived = redrive(database, first)
    assert (revived.id, revived.held) == (first.id, True)
    assert run_out(database) == [task.id for task in others] + [first.id]


def test_a_redriven_task_heads_an_empty_lane(database: Database) -> None:
    (only,) = in_lane(database)
    settle_all(database, claim_all(database), 400)
    assert not redrive(database, only).held
    assert run_out(database) == [only.id]


def test_a_lane_that_ran_empty_starts_anew(database: Database) -> None:
    in_lane(database, 2)
    run_out(database)
    assert [task.held for task in in_lane(database, 2)] == [False, True]


def test_run_now_does_not_overtake(database: Database) -> None:
    (first,) = in_lane(database, delay=HOUR)
    second, third = in_lane(database, 2, delay=2 * HOUR)
    in_lane(database, key="b")
    for task, before in ((second, f"task {first.id} of"), (third, f"task {first.id} and others of")):
        with pytest.raises(Conflict, match=f"waits behind {before} the same ordering key"):
            run_now(database, task)
        assert look_up(database, task.id) == task, "it keeps its time"
    for task in (first, second, third):
        run_now(database, task)
        assert run_out(database) == [task.id]


def test_the_task_before_may_be_one_whose_cancelled_attempt_is_still_on_the_wire(database: Database) -> None:
    first, second = in_lane(database, 2)
    running = claim_one(database)
    cancel(database, running)
    with pytest.raises(Conflict, match=f"task {first.id}"):
        run_now(database, second)
    let_go(database, running)
    assert run_now(database, second).held is False


def test_several_tasks_of_one_key_in_one_group_keep_their_order(database: Database) -> None:
    group = [Submission((new_task(ordering_key="a"), new_task(ordering_key="b"))) for _ in range(4)]
    with database.begin() as conn:
        receipts = submissions.submit(conn, database, group)
    ids = [receipt.tasks[0].id for receipt in receipts if isinstance(receipt, submissions.Receipt)]
    assert run_out(database) == ids


def test_the_order_is_that_of_the_commits_and_not_that_of_the_ids(database: Database, other: Database) -> None:
    if database.dialect_name == "sqlite":
        return  # one transaction at a time: there is nothing to reorder
    begun, entered = threading.Event(), threading.Event()

    def begin_first_and_commit_second() -> TaskId:
        with database.begin() as conn:
            submissions.submit(conn, database, [Submission((new_task(),))])  # begun, and not in the lane yet
            begun.set()
            entered.wait(30)
            (receipt,) = submissions.submit(conn, database, [Submission((new_task(ordering_key="a"),))])
            assert isinstance(receipt, submissions.Receipt)
            return receipt.tasks[0].id

    def enter_between() -> TaskId:
        begun.wait(30)
        (task,) = in_lane(other)
        entered.set()
        return task.id

    late, early = results(at_once([begin_first_and_commit_second, enter_between]))
    assert run_out(database) == [early, late]


def test_who_enters_while_another_has_not_committed_comes_behind_it(database: Database, other: Database) -> None:
    entered = threading.Event()

    def enter_and_dawdle() -> TaskId:
        with database.begin() as conn:
            (receipt,) = submissions.submit(conn, database, [Submission((new_task(ordering_key="a"),))])
            entered.set()
            time.sleep(0.2)
            assert isinstance(receipt, submissions.Receipt)
            return receipt.tasks[0].id

    def follow() -> TaskId:
        entered.wait(30)
        return in_lane(other)[0].id

    first, second = results(at_once([enter_and_dawdle, follow]))
    assert positions(database) == {first: 1, second: 2}


def test_a_lane_loses_nobody_when_its_head_ends_while_another_enters(database: Database, other: Database) -> None:
    for _ in range(15):
        in_lane(database)
        head = claim_one(database)
        end = decided(database, head, answer(200))
        results(at_once([partial(settle, database, end), partial(in_lane, other)]))
        assert faults(database) == []
        assert len(run_out(database)) == 1


def test_no_key_is_stuck_after_a_thousand_random_interleavings(
    database: Database, other: Database, clock: Clock
) -> None:
    wires = _Wires()

    def act(store: Database, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(250):
            with suppress(Conflict):  # somebody else ended it first
                _act_once(store, dice, wires)

    results(at_once([partial(act, store, seed) for seed, store in enumerate((database, other) * 2)]))
    assert faults(database) == []
    clock.advance(seconds=16)  # what was cancelled under its worker, and whose worker went away with a conflict
    with database.begin() as conn:
        lost = leases.lapsed(conn, database, limit=1000)
        stones = [task for task in lost if task.state is TaskState.CANCELLED]
        leases.let_go(conn, database, [task.lease for task in stones if task.lease])
    outcome = lapsed_outcome()
    assert settle(database, *(decided(database, task, outcome) for task in lost if task not in stones)) == set()
    run_out(database)
    with database.read() as conn:
        assert conn.execute(select(ready.c.task_id)).all() == []


class _Wires:
    """Which keys have a request on the wire, as the targets would see it."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def taken(self, claimed: list[Task]) -> None:
        keys = [str(task.spec.ordering_key) for task in claimed]
        with self._lock:
            assert len(set(keys)) == len(keys), "two of one key in one claim"
            assert not self._busy & set(keys), "two of one key at a time"
            self._busy |= set(keys)

    def free(self, task: Task) -> None:
        with self._lock:
            self._busy.remove(str(task.spec.ordering_key))


def _act_once(store: Database, dice: random.Random, wires: _Wires) -> None:
    move = dice.random()
    if move < 0.35:
        in_lane(store, key=dice.choice("abc"))
    elif move < 0.75:
        claimed = claim_all(store, limit=2)
        wires.taken(claimed)
        for task in claimed:
            wires.free(task)
            if dice.random() < 0.3:
                with suppress(Conflict):
                    cancel(store, task)
                let_go(store, task)
            else:
                settle_one(store, task, answer(dice.choice([200, 200, 400, 500])), jitter=0.0)
    elif move < 0.9:
        with store.read() as conn:
            waiting = conn.execute(select(ready.c.task_id).where(ready.c.lease_token.is_(None))).scalars().all()
        if waiting:
            with store.begin() as conn:
                tasks.cancel(conn, store, "default", TaskId(dice.choice(waiting)))
    else:
        with store.begin() as conn:
            letters = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=5).items
            if letters:
                dead_letters.redrive(conn, store, "default", dice.choice(letters).id)


def test_a_task_out_of_its_lane_is_no_part_of_it(database: Database) -> None:
    (task,) = in_lane(database)
    settle_all(database, claim_all(database), 200)
    assert look_up(database, task.id).state is TaskState.SUCCEEDED
    assert positions(database) == {}
