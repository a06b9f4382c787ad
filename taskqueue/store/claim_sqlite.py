"""The claim on SQLite, whole: inside one write transaction nobody else can take what was just read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, bindparam, select, update
from uuid_utils.compat import uuid7

from taskqueue.store.columns import Id
from taskqueue.store.schema import WAITING, ready, tasks

_DUE = (
    select(ready.c.task_id)
    .where(
        WAITING,
        ready.c.not_before <= bindparam("now"),
        ready.c.expires_at > bindparam("now"),
    )
    .order_by(ready.c.not_before)
    .limit(bindparam("limit"))
)
_LEASE = (
    update(ready)
    .where(ready.c.task_id == bindparam("leased_id"))
    .values(
        lease_token=bindparam("token"),
        lease_until=bindparam("until"),
        attempt_id=bindparam("attempt"),
        started_at=bindparam("now"),
        worker=bindparam("name"),
        number=ready.c.number + 1,
        seq=ready.c.seq + 1,
    )
)
_LEASED = (
    select(
        ready.c.task_id,
        ready.c.generation,
        ready.c.revision,
        ready.c.expires_at.label("live_until"),
        ready.c.seq,
        ready.c.number,
        ready.c.charged,
        ready.c.lost,
        ready.c.deferred,
        ready.c.memory,
        ready.c.lease_token,
        ready.c.attempt_id,
        ready.c.started_at,
        ready.c.worker,
        tasks,
    )
    .join_from(ready, tasks, tasks.c.id == ready.c.task_id)
    .where(ready.c.task_id.in_(bindparam("ids", expanding=True, type_=Id)))
)


def claim(conn: Connection, *, worker: str, limit: int, lease: timedelta, now: datetime) -> Sequence[Any]:
    """Lease up to ``limit`` tasks that are due at ``now``."""
    ids = conn.execute(_DUE, {"now": now, "limit": limit}).scalars().all()
    if not ids:
        return ()
    fresh = {"until": now + lease, "now": now, "name": worker}
    conn.execute(_LEASE, [{"leased_id": id_, "token": uuid4(), "attempt": uuid7(), **fresh} for id_ in ids])
    return conn.execute(_LEASED, {"ids": ids}).all()
