"""Which limits hold a waiting task back at this moment, read as the claim reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select

from taskqueue.core import breaker as breakers
from taskqueue.core.held_back import HeldBack, Level, by_breaker, by_flow_key, by_queue
from taskqueue.core.task import Task
from taskqueue.store import origins
from taskqueue.store.limits import bounds_of
from taskqueue.store.schema import LEASED, flow_keys, queues, ready


def held_back(conn: Connection, task: Task, *, now: datetime) -> Iterator[HeldBack]:
    """The limits that let no task start that waits where ``task`` does."""
    spec = task.spec
    flow_key = spec.flow_key or spec.origin
    if (level := _level(conn, queues, spec.project, "name", spec.queue, ready.c.queue)) is not None:
        yield from by_queue(level, now)
    if (level := _level(conn, flow_keys, spec.project, "key", flow_key, ready.c.flow_key)) is not None:
        yield from by_flow_key(level, now)
    breaker = origins.find(conn, spec.project, [spec.origin]).get(spec.origin)
    if breaker is not None:
        since = breakers.counted_from(breaker, now)
        more = () if since is None else (ready.c.started_at >= since,)
        running = _running(conn, spec.project, ready.c.origin == spec.origin, *more)
        yield from by_breaker(breaker, running, now)


def _level(conn: Connection, table: Table, project: str, column: str, name: str, of: Any) -> Level | None:
    """``None`` where nobody set a limit."""
    row = conn.execute(
        select(table).where(table.c.project == bindparam("of_project"), table.c[column] == bindparam("of_name")),
        {"of_project": project, "of_name": name},
    ).one_or_none()
    if row is None:
        return None
    running = _running(conn, project, of == name)
    return Level(name=name, bounds=bounds_of(row), running=running, tokens=row.tokens, tokens_at=row.tokens_at)


def _running(conn: Connection, project: str, *more: Any) -> int:
    """Leases, those of cancelled tasks included: they hold their slot until the worker lets go."""
    leased = (ready.c.project == project, LEASED)
    count: int = conn.execute(select(func.count()).select_from(ready).where(*leased, *more)).scalar_one()
    return count
