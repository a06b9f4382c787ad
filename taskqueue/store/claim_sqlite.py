"""The claim on SQLite, whole: inside one write transaction nobody else can take what was just read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, and_, bindparam, select
from uuid_utils.compat import uuid7

from taskqueue.core.task import AttemptId, Lease, LeaseToken, Task, TaskId
from taskqueue.store.columns import to_micros
from taskqueue.store.rows import leased_task
from taskqueue.store.schema import WAITING, ready, tasks
from taskqueue.store.sqlite_driver import Query, driver

_DUE = (
    select(
        ready.c.task_id,
        ready.c.generation,
        ready.c.revision,
        ready.c.expires_at.label("live_until"),
        (ready.c.seq + 1).label("seq"),
        (ready.c.number + 1).label("number"),
        ready.c.charged,
        ready.c.lost,
        ready.c.deferred,
        ready.c.memory,
        *(column for column in tasks.c if column.name != "id"),
    )
    .join_from(ready, tasks, and_(tasks.c.id == ready.c.task_id, tasks.c.project == ready.c.project))
    .where(WAITING, ready.c.not_before <= bindparam("now"), ready.c.expires_at > bindparam("now"))
    .order_by(ready.c.not_before)
    .limit(bindparam("limit"))
)
_FIND = Query(_DUE)
_LEASE = """
    update ready
       set lease_token = ?, attempt_id = ?, lease_until = ?, started_at = ?, worker = ?,
           number = number + 1, seq = seq + 1
     where task_id = ? and project = ?
"""


def claim(conn: Connection, *, worker: str, limit: int, lease: timedelta, now: datetime) -> list[Task]:
    """Lease up to ``limit`` tasks that are due at ``now``."""
    start = to_micros(now)
    claimed = [_leased(row, worker=worker, now=now) for row in _FIND.all(conn, {"now": start, "limit": limit})]
    if claimed:
        until = to_micros(now + lease)
        held = [task.lease for task in claimed if task.lease]
        driver(conn).executemany(
            _LEASE,
            [
                (each.token.bytes, each.attempt_id.bytes, until, start, worker, each.task_id.bytes, each.project)
                for each in held
            ],
        )
    return claimed


def _leased(row: Any, *, worker: str, now: datetime) -> Task:
    """The task as the update leaves it, without reading it again."""
    lease = Lease(row.project, TaskId(row.task_id), LeaseToken(uuid4()), AttemptId(uuid7()))
    return leased_task(row, lease, started_at=now, worker=worker)
