"""A process that submits, claims, settles, cancels and redrives as fast as it can, until it is killed.

Run as a program: the database's URL, a seed, and the moves it may make. It prints the id of each task once it has its
receipt, so that whoever kills it knows what was acknowledged.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import select

from taskqueue.core.errors import Conflict, StoreUnavailable
from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import lapsed
from taskqueue.core.policy import NO_POLICY, OnLost, Policy, Reconcile, Rule
from taskqueue.core.task import FollowUp, TaskId, TaskState, WebhookEvent
from taskqueue.core.terms import Limits
from taskqueue.store import dead_letters, leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.schema import ready
from taskqueue.store.submissions import IdempotencyKey
from tests.support.builders import answer, new_task, submit

LEASE = timedelta(seconds=0.2)  # lapses while the test goes on
POLICIES = (
    NO_POLICY,
    Policy(on_lost=OnLost.DEAD),
    Policy(reconcile=Reconcile(url="https://caller.example/done", timeout=timedelta(seconds=1))),
    Policy(rules=(Rule(match=("status:500",), retries=1), Rule(match=("worker_lost",), charge=False))),
)
ANSWERS = (b'{"state": "done"}', b'{"state": "not-done"}', b"what?")
STATUSES = (200, 200, 200, 400, 500, 429)


def main(url: str, seed: int) -> None:
    database, dice = Database.open(url), random.Random(seed)
    moves = (_submit, _submit, _work, _work, _work, _sweep, _cancel, _redrive)
    while True:
        with suppress(Conflict, StoreUnavailable):
            dice.choice(moves)(database, dice)


def _submit(database: Database, dice: random.Random) -> None:
    asked = [
        new_task(
            ordering_key=dice.choice([None, None, "a", "b"]),
            webhook_url=dice.choice([None, "https://caller.example/hook"]),
            webhook_events=frozenset(dice.sample(sorted(WebhookEvent), 3)),
            retries=dice.randrange(3),
            labels=("x",),
            policy=dice.choice(POLICIES),
            on_failure=dice.choice([None, FollowUp(task=new_task(ordering_key="a"))]),
            on_success=dice.choice([None, None, None, FollowUp(task=new_task(on_failure=FollowUp(task=new_task())))]),
        )
        for _ in range(dice.randrange(1, 6))
    ]
    key = IdempotencyKey("default", f"key-{dice.random()}", b"x") if dice.random() < 0.5 else None
    receipt = submit(database, *asked, key=key)
    print(" ".join(str(task.id) for task in receipt.tasks), flush=True)


def _work(database: Database, dice: random.Random) -> None:
    claimed = leases.claim(database, worker="traffic", limit=dice.randrange(1, 30), lease=LEASE).tasks
    outcomes = {task.id: answer(dice.choice(STATUSES), body=dice.choice(ANSWERS)) for task in claimed}
    with database.begin() as conn:
        now = database.now(conn)
        leases.settle(
            conn,
            database,
            [decide(task, outcomes[task.id], now=now, jitter=0.0, limits=Limits()) for task in claimed],
        )


def _sweep(database: Database, dice: random.Random) -> None:
    with database.begin() as conn:
        now = database.now(conn)
        found = leases.lapsed(conn, database, limit=50)
        stones = [task.lease for task in found if task.state is TaskState.CANCELLED and task.lease]
        leases.let_go(conn, database, stones)
        lost = [task for task in found if task.state is TaskState.RUNNING]
        leases.settle(
            conn, database, [decide(task, lapsed(), now=now, jitter=dice.random(), limits=Limits()) for task in lost]
        )


def _cancel(database: Database, dice: random.Random) -> None:
    with database.begin() as conn:
        alive = conn.execute(select(ready.c.task_id).limit(50)).scalars().all()
        if alive:
            tasks.cancel(conn, database, "default", TaskId(dice.choice(alive)))


def _redrive(database: Database, dice: random.Random) -> None:
    with database.begin() as conn:
        letters = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=10).items
        if letters:
            dead_letters.redrive(conn, database, "default", dice.choice(letters).id, force=dice.random() < 0.5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
