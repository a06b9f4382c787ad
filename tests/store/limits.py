"""Limits set, and claims under them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from taskqueue.core.queue import Bounds, FlowKey, Queue
from taskqueue.core.task import Task, TaskId
from taskqueue.store import flow_keys, leases, queues, tasks
from taskqueue.store.database import Database
from taskqueue.store.leases import Claimed
from taskqueue.store.schema import ready, strands, wakes
from tests.support.builders import LEASE, new_task, submit

ORIGIN = "https://target.example:443"


def limit_queue(database: Database, name: str = "default", *, project: str = "default", **bounds: Any) -> None:
    """From now on, these limits and no others."""
    with database.begin() as conn:
        queues.define(conn, database, Queue(project=project, name=name, bounds=Bounds(**bounds)))


def limit_flow(database: Database, key: str = ORIGIN, *, project: str = "default", **bounds: Any) -> None:
    """From now on, these limits and no others."""
    with database.begin() as conn:
        flow_keys.define(conn, database, FlowKey(project=project, key=key, bounds=Bounds(**bounds)))


def fill(database: Database, count: int, **over: Any) -> list[Task]:
    """Submit so many tasks that differ in nothing."""
    return list(submit(database, *(new_task(**over) for _ in range(count))).tasks)


def to_host(host: str) -> dict[str, str]:
    """The fields of a task for another host."""
    return {"target_url": f"https://{host}/work", "origin": f"https://{host}:443", "target_host": host}


def claim(database: Database, limit: int = 100, **over: Any) -> Claimed:
    """One claim, with all that it tells."""
    return leases.claim(database, **{"worker": "worker-1", "limit": limit, "lease": LEASE, **over})


def ids(found: Iterable[Task]) -> list[TaskId]:
    return [task.id for task in found]


def cancel(database: Database, *found: Task) -> None:
    for task in found:
        with database.begin() as conn:
            tasks.cancel(conn, database, task.spec.project, task.id)


def let_go(database: Database, *found: Task) -> None:
    """Cancelled attempts are off the wire."""
    with database.begin() as conn:
        leases.let_go(conn, database, [task.lease for task in found if task.lease])


def running(database: Database) -> int:
    """Slots taken, those of cancelled attempts on the wire included."""
    with database.read() as conn:
        return len(conn.execute(select(ready.c.task_id).where(ready.c.lease_token.is_not(None))).all())


def strand_of_one(database: Database) -> Any:
    """The row of the only strand there is."""
    with database.read() as conn:
        return conn.execute(select(strands)).one()


def wakes_told(database: Database) -> int:
    """Wakes that no claim has taken in yet; none on SQLite, where strands are woken without them."""
    with database.read() as conn:
        return len(conn.execute(select(wakes.c.id)).all())
