"""Whatever happens to the tasks of one key, whatever its queue says: nobody overtakes, nobody is lost, nobody is stuck.

``TASKQUEUE_TEST_EXAMPLES`` makes a longer run of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from taskqueue.core.queue import OnDeath
from taskqueue.core.task import Task, TaskState
from taskqueue.store import tasks
from taskqueue.store.database import Database
from taskqueue.store.schema import metadata
from tests.store.invariants import faults
from tests.store.lanes import (
    advance_all,
    blocks,
    define,
    expire_all,
    in_lane,
    letter_of,
    park_all,
    redrive,
    run_out,
    unblock,
)
from tests.support.builders import answer, claim_all, look_up, settle_one
from tests.support.clock import Clock

EXAMPLES = int(os.environ.get("TASKQUEUE_TEST_EXAMPLES", "10"))
some = st.randoms(use_true_random=False)


@dataclass(slots=True, eq=False)
class Modelled:
    """A task in the line of its key, or the place of a dead one."""

    task: Task
    dies_at: int | None  # by the model's clock
    blocks: bool = False
    parks: int | None = None  # so many of those right behind it are set aside with it


class Lane(RuleBasedStateMachine):
    """One ordering key. The line holds the living in their order, and those dead for whose sake others wait."""

    database: Database
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.line: list[Modelled] = []
        self.on_death = OnDeath.SKIP
        self.running: Modelled | None = None
        self.dead: list[Task] = []
        self.lease: Task | None = None

    @initialize(on_death=st.sampled_from(OnDeath), count=st.integers(1, 4))
    def start(self, on_death: OnDeath, count: int) -> None:
        with self.database.begin() as conn:
            for table in metadata.sorted_tables:
                conn.execute(delete(table))
        self.change_the_policy(on_death)
        self.submit(count, lives=None)

    @rule(count=st.integers(1, 3), lives=st.sampled_from([None, None, 150, 450]))
    def submit(self, count: int, lives: int | None) -> None:
        span = timedelta(seconds=lives or 1_000_050)
        submitted = in_lane(self.database, count, expires_in=span)
        self.line += [Modelled(task, self.now + lives if lives else None) for task in submitted]

    @rule(on_death=st.sampled_from(OnDeath))
    def change_the_policy(self, on_death: OnDeath) -> None:
        self.on_death = on_death
        define(self.database, on_death)
        advance_all(self.database)
        if on_death is OnDeath.SKIP:
            self.line = [each for each in self.line if self._alive(each)]

    @precondition(lambda self: self.running is None)
    @rule()
    def claim(self) -> None:
        head = self._head()
        claimed = claim_all(self.database)
        assert [task.id for task in claimed] == ([head.task.id] if head is not None else [])
        if head is not None:
            self.running, self.lease = head, claimed[0]

    @precondition(lambda self: self.running is not None)
    @rule(status=st.sampled_from([200, 400, 400]))
    def end_the_attempt(self, status: int) -> None:
        assert self.lease is not None
        assert self.running is not None
        assert settle_one(self.database, self.lease, answer(status))
        ended, self.running, self.lease = self.running, None, None
        if status == 200:
            self.line.remove(ended)
        else:
            self._die([ended])

    @rule()
    def pass_time(self) -> None:
        if self.running is not None:  # the clock must not outrun its lease
            return
        self.now += 100
        self.clock.advance(seconds=100)
        expire_all(self.database)
        late = [each for each in self.line if each.dies_at is not None and each.dies_at <= self.now]
        self._die([each for each in late if self._alive(each)])

    @rule(dice=some)
    def cancel_one_that_waits(self, dice: Any) -> None:
        waiting = [each for each in self._living() if each is not self.running]
        if not waiting:
            return
        chosen = dice.choice(waiting)
        with self.database.begin() as conn:
            tasks.cancel(conn, self.database, "default", chosen.task.id)
        self._leave(chosen)

    @precondition(lambda self: self.dead)
    @rule(dice=some)
    def redrive_one(self, dice: Any) -> None:
        task = dice.choice(self.dead)
        self.dead.remove(task)
        redrive(self.database, task)
        place = next((each for each in self.line if each.task is task and each.blocks), None)
        if place is not None:
            place.blocks, place.dies_at = False, None
        else:
            self.line.append(Modelled(task, None))
        self._refresh(task)

    @rule()
    def park(self) -> None:
        park_all(self.database, limit=2)
        for each in [each for each in self.line if each.parks is not None]:
            start, end = self._reach(each)
            self.dead += [one.task for one in self.line[start + 1 : end]]
            del self.line[start:end]

    @rule()
    def unblock_the_key(self) -> None:
        unblock(self.database)
        self.line = self._living()

    def _refresh(self, task: Task) -> None:
        """A redrive lengthens a life that was over; how far is for other tests to say."""
        expires_at = look_up(self.database, task.id).expires_at
        with self.database.read() as conn:
            left = expires_at - self.database.now(conn)
        seconds = round(left.total_seconds())
        for each in self.line:
            if each.task is task:
                each.dies_at = self.now + round((seconds - 50) / 100) * 100 + 50

    def _die(self, dying: list[Modelled]) -> None:
        """In the order of the line: who stands behind one that parks has died already when its own turn comes."""
        self.dead += [each.task for each in dying]
        if self.on_death is OnDeath.PARK:
            for each in dying:
                if not self._covered(each):
                    each.parks = len(self.line) - self.line.index(each) - 1
        for each in dying:
            if each.parks is None and (self.on_death is not OnDeath.BLOCK or self._covered(each)):
                self._leave(each)
            elif self.on_death is OnDeath.BLOCK:
                each.blocks = True

    def _reach(self, each: Modelled) -> tuple[int, int]:
        start = self.line.index(each)
        return start, start + 1 + (each.parks or 0)

    def _covered(self, each: Modelled) -> bool:
        """Whether it is about to be parked."""
        place = self.line.index(each)
        return any(start < place < end for start, end in map(self._reach, self.line))

    def _leave(self, each: Modelled) -> None:
        place = self.line.index(each)
        for other in self.line:
            start, end = self._reach(other)
            if other.parks is not None and start < place < end:
                other.parks -= 1
        self.line.remove(each)

    @staticmethod
    def _alive(each: Modelled) -> bool:
        return not each.blocks and each.parks is None

    def _living(self) -> list[Modelled]:
        return [each for each in self.line if self._alive(each)]

    def _head(self) -> Modelled | None:
        first = self.line[0] if self.line else None
        return None if first is None or not self._alive(first) else first

    @invariant()
    def nothing_contradicts_itself(self) -> None:
        assert faults(self.database) == []
        kept = [each.task.id for each in self.line if not self._alive(each)]
        assert [block.task_id for block in blocks(self.database)] == kept

    def teardown(self) -> None:
        """Once every death is resolved nobody is stuck, and the order is what it was."""
        if self.lease is not None:
            assert settle_one(self.database, self.lease, answer(200))
            assert self.running is not None
            self.line.remove(self.running)
        if self.line:
            self.park()
        for each in [each for each in self.line if each.blocks]:
            redrive(self.database, each.task)
            self.dead.remove(each.task)
            each.blocks = False
        assert run_out(self.database) == [each.task.id for each in self.line]
        assert {look_up(self.database, task.id).state for task in self.dead} <= {TaskState.DEAD}
        assert all(letter_of(self.database, task) for task in self.dead)


@pytest.mark.timeout(0 if EXAMPLES > 100 else 600)  # hypothesis takes five minutes to shorten what failed
def test_nobody_overtakes_is_lost_or_stuck(database: Database, clock: Clock) -> None:
    run_state_machine_as_test(
        type("OfThisDatabase", (Lane,), {"database": database, "clock": clock}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
