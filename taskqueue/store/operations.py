"""Bulk work with progress: started by a request, carried on by the workers' chores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NewType
from uuid import UUID

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update
from uuid_utils.compat import uuid7

from taskqueue.store import purges, redrives
from taskqueue.store.bulk import Portion, Step
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.dialect import Hint
from taskqueue.store.purges import Waiting
from taskqueue.store.schema import operations

Wanted = DeadLetterFilter | Waiting
OperationId = NewType("OperationId", UUID)
BATCH = 200  # per transaction, so that no lock is held for long
STEP = timedelta(seconds=1)  # after which a transaction ends with what it has done, however slow the machine
_LONGEST_STEP = timedelta(seconds=1)  # a rate is not saved up while nobody works


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One piece of bulk work. Of the ``matched`` rows that fitted at its start, each ends done, failed or skipped."""

    id: OperationId
    project: str
    verb: str
    wanted: Wanted
    matched: int
    done: int = 0
    failed: int = 0  # could not be done for a fault of ours, and stand as they were
    rate: float | None
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def skipped(self) -> int:
        """Rows that somebody else was faster with, a worker included, or whose deaths were compensated; 0 until the
        operation finishes."""
        return 0 if self.finished_at is None else max(0, self.matched - self.done - self.failed)


def start_redrive(
    conn: Connection, database: Database, project: str, wanted: DeadLetterFilter, *, rate: float | None
) -> Operation:
    """Redrive every dead letter that fits and died before now, at most ``rate`` per second."""
    now = database.now(conn)
    return _start(conn, database, project, "redrive", redrives.until(wanted, now), rate=rate, now=now)


def start_purge(conn: Connection, database: Database, project: str, wanted: Waiting) -> Operation:
    """Cancel every task that waits now; one that runs, or comes later, is left alone."""
    return _start(conn, database, project, "cancel", wanted, rate=None, now=database.now(conn))


def get(conn: Connection, project: str, operation_id: OperationId) -> Operation | None:
    """The operation with its progress; ``None`` if this project has none of that id."""
    row = conn.execute(_ONE, {"of_project": project, "of_id": operation_id}).one_or_none()
    return None if row is None else _operation(row)


def advance(conn: Connection, database: Database, *, step: timedelta = STEP) -> int:
    """Take the open operation that waited longest one step further; return how many rows it did, perhaps none."""
    now = database.now(conn)
    # Past those whose rate permits nothing yet: a slow one must not hold up the others.
    due = ((row, allowed) for row in conn.execute(_OPEN).all() if (allowed := _allowed(row, now)))
    row, allowed = next(due, (None, 0))
    if row is None:
        return 0
    # Guarded by when it was last advanced: of two workers here at once, one does this step.
    guard = {"of_project": row.project, "of_id": row.id, "seen": row.advanced_at, "now": now}
    if not conn.execute(_TAKE, guard).rowcount:
        return 0
    until = time.monotonic() + step.total_seconds()
    portion = Portion(project=row.project, operation_id=row.id, cursor=row.cursor, limit=allowed, until=until)
    came_to = _VERBS[row.verb].step(conn, database, _operation(row).wanted, portion)
    finished = now if came_to.last is None else None
    conn.execute(_NOTE, {"of_project": row.project, "of_id": row.id, **asdict(came_to), "finished": finished})
    return came_to.done


@dataclass(frozen=True, slots=True)
class _Verb:
    """How bulk work of one kind is counted and done."""

    wanted: type[Any]
    count: Callable[[Connection, str, Any], int]
    step: Callable[[Connection, Database, Any, Portion], Step]


_VERBS: Mapping[str, _Verb] = {
    "redrive": _Verb(DeadLetterFilter, redrives.count, redrives.step),
    "cancel": _Verb(Waiting, purges.count, purges.step),
}


def _start(
    conn: Connection,
    database: Database,
    project: str,
    verb: str,
    wanted: Wanted,
    *,
    rate: float | None,
    now: datetime,
) -> Operation:
    operation = Operation(
        id=OperationId(uuid7()),
        project=project,
        verb=verb,
        wanted=wanted,
        matched=_VERBS[verb].count(conn, project, wanted),
        rate=rate,
        created_at=now,
    )
    row = asdict(operation)
    conn.execute(insert(operations), {**row, "filter": msgspec.json.encode(row.pop("wanted")), "advanced_at": now})
    database.hint(conn, Hint.READY)
    return operation


def _allowed(row: Any, now: datetime) -> int:
    """How many rows the rate permits since the last step; a slow rate waits until it permits a whole one."""
    if row.rate is None:
        return BATCH
    earned: float = (now - row.advanced_at).total_seconds() * row.rate
    # At most one step's worth, or one whole row. In rows and not in seconds: a span is cut to microseconds, and what is
    # a hair under a row would stay so for ever.
    return max(0, min(BATCH, int(min(earned, max(_LONGEST_STEP.total_seconds() * row.rate, 1.0)))))


def _operation(row: Any) -> Operation:
    return Operation(
        id=OperationId(row.id),
        project=row.project,
        verb=row.verb,
        wanted=msgspec.json.decode(row.filter, type=_VERBS[row.verb].wanted),
        matched=row.matched,
        done=row.done,
        failed=row.failed,
        rate=row.rate,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


_MINE = (operations.c.project == bindparam("of_project"), operations.c.id == bindparam("of_id"))
_ONE = select(operations).where(*_MINE)
# One worker at a time: who comes second does not wait for the first, which may take seconds. SQLite has one writer.
_OPEN = (
    select(operations)
    .where(operations.c.finished_at.is_(None))
    .order_by(operations.c.advanced_at)
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(operations).where(*_MINE, operations.c.advanced_at == bindparam("seen")).values(advanced_at=bindparam("now"))
)
_NOTE = (
    update(operations)
    .where(*_MINE)
    .values(
        done=operations.c.done + bindparam("done"),
        failed=operations.c.failed + bindparam("failed"),
        cursor=bindparam("last"),
        finished_at=bindparam("finished"),
    )
)
