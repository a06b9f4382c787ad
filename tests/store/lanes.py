"""Lanes in tests: filled, run out, blocked, and let go."""

from __future__ import annotations

from taskqueue.core.lifecycle import expire
from taskqueue.core.order_block import Block
from taskqueue.core.queue import OnDeath, Queue
from taskqueue.core.task import DeadLetterId, Task, TaskId
from taskqueue.store import dead_letters, leases, order_blocks, parking, queues
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import Edits
from taskqueue.store.dialect import Lane
from tests.store.steps import settle_all
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one, submit


def define(database: Database, on_death: OnDeath, name: str = "default") -> None:
    """From now on the queue does this when a task with an ordering key dies."""
    with database.begin() as conn:
        queues.define(conn, database, Queue(project="default", name=name, on_death=on_death))


def in_lane(database: Database, count: int = 1, key: str = "a", **over: object) -> list[Task]:
    """New tasks of one ordering key."""
    return list(submit(database, *(new_task(ordering_key=key, **over) for _ in range(count))).tasks)


def run_out(database: Database, key: str = "a") -> list[TaskId]:
    """Claim and succeed until nothing is left; the ids of ``key`` in the order they ran."""
    order: list[TaskId] = []
    while claimed := claim_all(database):
        of_key = [task for task in claimed if task.spec.ordering_key == key]
        assert len(of_key) <= 1, "two of one key at a time"
        order += [task.id for task in of_key]
        settle_all(database, claimed, 200)
    return order


def kill_head(database: Database, status: int = 400) -> Task:
    """Whatever is due first is answered with ``status``."""
    head = claim_one(database)
    assert settle_one(database, head, answer(status))
    return head


def expire_all(database: Database) -> None:
    """What the workers' upkeep does with tasks whose time is up."""
    with database.begin() as conn:
        found = leases.expired(conn, database, limit=100)
        assert leases.settle(conn, database, [expire(task, now=database.now(conn)) for task in found]) == set()


def advance_all(database: Database, *, limit: int = 100) -> int:
    """What the workers' upkeep does with keys of queues that block no more."""
    with database.begin() as conn:
        return order_blocks.lift_obsolete(conn, database, limit=limit)


def park_all(database: Database, *, limit: int = 100) -> int:
    """What the workers' upkeep does where dead tasks have others parked; return in how many steps."""
    steps = 0
    while True:
        with database.begin() as conn:
            if parking.step(conn, database, limit=limit) is None:
                return steps
        steps += 1


def unblock(database: Database, key: str = "a", queue: str = "default") -> int:
    """As somebody does by hand."""
    with database.begin() as conn:
        return order_blocks.unblock(conn, database, Lane("default", queue, key))


def blocks(database: Database, queue: str = "default") -> list[Block]:
    """What blocks keys of the queue."""
    with database.read() as conn:
        return order_blocks.search(conn, "default", queue, cursor=None, limit=100).items


def letter_of(database: Database, task: Task) -> DeadLetterId:
    """The dead letter of a task that is dead now."""
    letter = look_up(database, task.id).dead_letter_id
    assert letter is not None
    return letter


def redrive(database: Database, task: Task, edits: Edits | None = None) -> Task:
    """Bring a dead task back."""
    letter = letter_of(database, task)
    with database.begin() as conn:
        revived = dead_letters.redrive(conn, database, "default", letter, edits)
    assert revived is not None
    return revived
