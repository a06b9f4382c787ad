"""The store against a model of it, through random lives of a few tasks; what holds always is checked after each step.

``TASKQUEUE_TEST_EXAMPLES`` makes a longer run of it.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
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

from taskqueue.core.errors import Conflict
from taskqueue.core.lifecycle import decide, expire
from taskqueue.core.outcome import Outcome, lapsed
from taskqueue.core.queue import Queue
from taskqueue.core.task import FollowUp, Kind, Lease, Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import dead_letters, leases, loading, queues, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.schema import metadata
from taskqueue.store.submissions import IdempotencyKey
from tests.store.asked import ERRAND, FIXED, OUTCOMES, POLICIES, SAID, UNDO, Asked, submissions
from tests.store.invariants import faults
from tests.store.limits import limit_flow
from tests.store.model import CAP, LEASE, Model, Modelled
from tests.support.builders import answer, new_task, submit
from tests.support.clock import Clock

EXAMPLES = int(os.environ.get("TASKQUEUE_TEST_EXAMPLES", "25"))
STEPS = 30 if EXAMPLES <= 100 else 80
some = st.randoms(use_true_random=False)


class Lives(RuleBasedStateMachine):
    """A few tasks and everything that may happen to them."""

    database: Database
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.ids: dict[Modelled, Task] = {}  # as submitted
        self.claimed: list[tuple[Modelled, Task]] = []  # every lease there ever was
        self.keys: dict[str, Modelled] = {}

    @initialize(first=st.lists(submissions, min_size=3, max_size=6))
    def start_with_a_few(self, first: list[Asked]) -> None:
        with self.database.begin() as conn:
            for table in metadata.sorted_tables:
                conn.execute(delete(table))
        limit_flow(self.database, "narrow", concurrency=CAP)
        for asked in first:
            self.submit(asked)

    @rule(asked=submissions)
    def submit_one_more(self, asked: Asked) -> None:
        self.submit(asked)

    def submit(self, asked: Asked) -> None:
        new = new_task(
            ordering_key=asked.key,
            delay=timedelta(seconds=asked.delay),
            expires_in=timedelta(seconds=asked.life),
            retries=asked.retries,
            backoff=FIXED,
            webhook_url="https://caller.example/hook" if asked.told else None,
            policy=POLICIES[asked.policy],
            on_failure=UNDO[asked.undo],
            on_success=FollowUp(task=ERRAND) if asked.followed else None,
            priority=asked.priority,
            flow_key="narrow" if asked.narrow else None,
        )
        repeat = IdempotencyKey("default", asked.repeat, b"x") if asked.repeat else None
        receipt = submit(self.database, new, key=repeat)
        before = self.keys.get(asked.repeat or "")
        assert receipt.replayed == (before is not None)
        if before is not None:
            assert receipt.tasks[0].id == self.ids[before].id
            return
        modelled = self.model.submit(
            asked.key,
            delay=asked.delay,
            life=asked.life,
            retries=asked.retries,
            told=asked.told,
            policy=asked.policy,
            undo=asked.undo,
            followed=asked.followed,
            narrow=asked.narrow,
        )
        self.ids[modelled] = receipt.tasks[0]
        if asked.repeat:
            self.keys[asked.repeat] = modelled

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        due = {self.ids[task].id: task for task in self.model.due()}
        found = leases.claim(self.database, worker="w", limit=limit, lease=timedelta(seconds=LEASE)).tasks
        assert len(found) == min(limit, self.model.startable() + self.model.errands)
        for task in found:
            if task.spec.kind is Kind.WEBHOOK or task.spec.parent_id is not None:
                self.model.errands -= 1
                assert self._settle(task, answer(200))
            else:
                modelled = due.pop(task.id)
                self.model.claim(modelled)
                self.claimed.append((modelled, task))

    @precondition(lambda self: self.claimed)
    @rule(dice=some, stale=st.booleans(), outcome=st.sampled_from(["succeeded", "rejected", "failed", "deferred"]))
    def settle(self, dice: Any, stale: bool, outcome: str) -> None:
        wanted = [(modelled, task) for modelled, task in self.claimed if self._holds(modelled, task) != stale]
        if wanted:
            modelled, task = dice.choice(wanted)
            assert self._settle(task, self._outcome(task, outcome)) == (not stale)
            if not stale:
                self.model.settle(modelled, outcome)

    @precondition(lambda self: self.model.due())
    @rule(outcome=st.sampled_from(["succeeded", "rejected", "rejected", "failed"]))
    def run(self, outcome: str) -> None:
        self.run_all(outcome)

    @precondition(lambda self: self.model.due())
    @rule(times=st.sampled_from([2, 4, 6]))
    def fail(self, times: int) -> None:
        """Whoever is called or asked does not know what to say, time and again."""
        for _ in range(times):
            self.run_all("failed")
            self.wait(1)

    def run_all(self, outcome: str) -> None:
        """Claim and settle all that is due, as a worker does when nothing comes between."""
        self.claim(100)
        for modelled, task in self.claimed:
            if self._holds(modelled, task):
                assert self._settle(task, self._outcome(task, outcome))
                self.model.settle(modelled, outcome)

    @precondition(lambda self: self.model.due())
    @rule(times=st.sampled_from([1, 1, 2, 4]))
    def lose(self, times: int) -> None:
        """Claim all that is due, and then the worker dies; so often."""
        for _ in range(times):
            self.claim(100)
            self.wait(1)
            self.reclaim()
        self.claim(1)

    @precondition(lambda self: any(task.state == "running" for task in self.model.tasks))
    @rule()
    def call_off(self) -> None:
        """Cancel all that runs, and let go of some of it."""
        running = [(modelled, task) for modelled, task in self.claimed if self._holds(modelled, task)]
        for place, (modelled, task) in enumerate(running):
            self.cancel_one(modelled)
            if place % 2 == 0:
                self.let_go_of(modelled, task)

    @rule(paused=st.sampled_from([True, False, False, False]))
    def pause_or_resume(self, paused: bool) -> None:
        with self.database.begin() as conn:
            queues.set_paused(conn, self.database, Queue(project="default", name="default"), paused=paused)
        self.model.paused = paused

    @precondition(lambda self: self.claimed)
    @rule()
    def extend(self) -> None:
        with self.database.begin() as conn:
            held = [_lease(task) for _, task in self.claimed]
            stale = leases.extend(conn, self.database, held, lease=timedelta(seconds=LEASE))
        for modelled, task in self.claimed:
            assert (_lease(task) not in stale) == self._holds(modelled, task)
            if _lease(task) not in stale:
                modelled.lease_until = self.model.now + LEASE

    @rule(hundreds=st.sampled_from([1, 1, 2, 5]))
    def wait(self, hundreds: int) -> None:
        self.clock.advance(seconds=100 * hundreds)
        self.model.now += 100 * hundreds

    @rule()
    def reclaim(self) -> None:
        with self.database.begin() as conn:
            now = self.database.now(conn)
            found = {task.id: task for task in leases.lapsed(conn, self.database, limit=100)}
            expected = {self.ids[task].id: task for task in self.model.lapsed()}
            assert {id_: task.state is TaskState.CANCELLED for id_, task in found.items()} == {
                id_: task.tombstone for id_, task in expected.items()
            }
            lost = [task for task in found.values() if task.state is TaskState.RUNNING]
            settlements = [decide(task, lapsed(), now=now, jitter=1.0, limits=Limits()) for task in lost]
            assert leases.settle(conn, self.database, settlements) == set()
            stones = [task for task in found.values() if task.state is TaskState.CANCELLED]
            leases.let_go(conn, self.database, [_lease(task) for task in stones])
        for task in lost:
            self.model.settle(expected[task.id], "lost")
        for task in stones:
            self.model.let_go(expected[task.id])

    @rule()
    def expire(self) -> None:
        with self.database.begin() as conn:
            now = self.database.now(conn)
            found = leases.expired(conn, self.database, limit=100)
            expected = {self.ids[task].id: task for task in self.model.expired()}
            assert {task.id for task in found} == set(expected)
            assert leases.settle(conn, self.database, [expire(task, now=now) for task in found]) == set()
        for modelled in expected.values():
            self.model.expire(modelled)

    @precondition(lambda self: self.claimed)
    @rule(dice=some)
    def let_go(self, dice: Any) -> None:
        self.let_go_of(*dice.choice(self.claimed))

    def let_go_of(self, modelled: Modelled, task: Task) -> None:
        with self.database.begin() as conn:
            leases.let_go(conn, self.database, [_lease(task)])
        if modelled.tombstone and self._newest(modelled, task):
            self.model.let_go(modelled)

    @precondition(lambda self: self.model.tasks)
    @rule(dice=some)
    def cancel(self, dice: Any) -> None:
        self.cancel_one(dice.choice(self.model.tasks))

    def cancel_one(self, modelled: Modelled) -> None:
        allowed = modelled.state in ("queued", "running")
        with self.database.begin() as conn:
            assert self._allowed(tasks.cancel, conn, self.database, "default", self.ids[modelled].id) == allowed
        if allowed:
            self.model.cancel(modelled)

    @precondition(lambda self: self.model.tasks)
    @rule(dice=some)
    def run_now(self, dice: Any) -> None:
        modelled = dice.choice(self.model.tasks)
        allowed = modelled.state == "queued" and not self.model.held(modelled)
        with self.database.begin() as conn:
            assert self._allowed(tasks.run_now, conn, self.database, "default", self.ids[modelled].id) == allowed
        if allowed:
            self.model.run_now(modelled)

    @precondition(lambda self: any(task.reason for task in self.model.tasks))
    @rule(dice=some, force=st.booleans())
    def redrive(self, dice: Any, force: bool) -> None:
        self.redrive_one(dice, force=force)
        self.redrive_one(dice, force=force)

    def redrive_one(self, dice: Any, *, force: bool) -> None:
        wanted = DeadLetterFilter(include_redriven=True)
        with self.database.begin() as conn:
            letters = dead_letters.search(conn, "default", wanted, cursor=None, limit=100).items
            letter = dice.choice(letters)
            modelled = next(task for task in self.model.tasks if self.ids[task].id == letter.task.id)
            allowed = letter.generation == modelled.generation and not modelled.redriven
            allowed = allowed and (force or not modelled.compensated)
            again = partial(dead_letters.redrive, force=force)
            assert self._allowed(again, conn, self.database, "default", letter.id) == allowed
        if allowed:
            self.model.redrive(modelled)

    @invariant()
    def nothing_contradicts_anything(self) -> None:
        assert faults(self.database) == []

    @invariant()
    def every_task_stands_as_the_model_says(self) -> None:
        with self.database.read() as conn:
            found = loading.load(conn, "default", [task.id for task in self.ids.values()])
        for modelled, submitted in self.ids.items():
            task = found[submitted.id]
            progress = task.progress
            counters = (progress.generation, progress.seq, progress.number)
            counters += (progress.charged, progress.lost, progress.deferred)  # type: ignore[assignment]
            assert (task.state.value, counters) == (modelled.state, modelled.counters())
            reason = task.ending.reason.value if task.ending and task.ending.reason else None
            assert reason == modelled.reason
            if modelled.state == "queued":
                assert task.held == self.model.held(modelled)

    def _settle(self, task: Task, outcome: Outcome) -> bool:
        with self.database.begin() as conn:
            settlement = decide(task, outcome, now=self.database.now(conn), jitter=1.0, limits=Limits())
            return leases.settle(conn, self.database, [settlement]) == set()

    @staticmethod
    def _outcome(task: Task, word: str) -> Outcome:
        return (OUTCOMES if task.progress.memory.asking is None else SAID)[word]

    def _newest(self, modelled: Modelled, task: Task) -> bool:
        return (task.progress.generation, task.progress.number) == (modelled.generation, modelled.number)

    def _holds(self, modelled: Modelled, task: Task) -> bool:
        return modelled.state == "running" and self._newest(modelled, task)

    @staticmethod
    def _allowed(verb: Any, *arguments: Any) -> bool:
        try:
            return verb(*arguments) is not None
        except Conflict:
            return False


def _lease(task: Task) -> Lease:
    assert task.lease is not None
    return task.lease


@pytest.mark.timeout(0 if EXAMPLES > 100 else 600)  # hypothesis takes five minutes to shorten what failed
def test_random_lives_go_as_the_model_says(database: Database, clock: Clock) -> None:
    machine = type("Lives", (Lives,), {"database": database, "clock": clock})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
