"""SQLite 3.35 and later, in WAL mode, shared by the processes of one machine."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    Table,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    select,
    update,
)
from sqlalchemy import exc as sqlalchemy_exc
from sqlalchemy.dialects.sqlite import insert as upsert

from taskqueue.core.errors import InvalidSettings
from taskqueue.core.task import Lease, Task
from taskqueue.store import claim_sqlite
from taskqueue.store.columns import from_micros, to_micros
from taskqueue.store.dialect import Guard, Hint, Lane, Listener
from taskqueue.store.listen_sqlite import SqliteListener, tell
from taskqueue.store.network_file import network_filesystem
from taskqueue.store.schema import idempotency_keys, ready

OLDEST = (3, 35, 0)  # the first with RETURNING
_TRANSIENT = ("locked", "busy", "disk is full", "disk i/o error", "unable to open database file", "readonly database")


class Sqlite:
    """The SQLite answers to ``Dialect``. There is one writer at a time, so what matters is that each gets its turn."""

    name = "sqlite"

    def __init__(self, url: URL, *, wait: timedelta) -> None:
        if not url.database or url.database == ":memory:":
            raise InvalidSettings("TASKQUEUE_DATABASE_URL names no file; write sqlite:///path/to/file.db")
        self._url, self._wait = url, wait.total_seconds()
        self._file = Path(url.database).absolute()
        self._clock = _SteadyClock()

    def engines(self) -> tuple[Engine, Engine]:
        # One writing connection: the pool's queue is then the fair lock between the threads of this process.
        writer = self._engine(pool_size=1, busy_timeout=0)
        event.listen(writer, "begin", self._begin_immediate)
        reader = self._engine(pool_size=8, busy_timeout=int(self._wait * 1000))
        event.listen(reader, "begin", lambda conn: conn.exec_driver_sql("begin"))
        return writer, reader

    def missing(self) -> bool:
        return not self._file.exists()

    def check(self, conn: Connection) -> list[str]:
        risks = []
        if sqlite3.sqlite_version_info < OLDEST:
            risks.append(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or later is needed.")
        if kind := network_filesystem(self._file):
            risks.append(
                f"{self._file.name} lies on a network filesystem ({kind}), where SQLite cannot keep its word;"
                " move it to a local disk, or use PostgreSQL."
            )
        mode = conn.exec_driver_sql("pragma journal_mode").scalar()
        if mode != "wal":
            risks.append(f"the journal mode is {mode}, not wal: this filesystem does not support it; use a local disk.")
        if conn.exec_driver_sql("pragma synchronous").scalar() != 2:
            risks.append("synchronous is not FULL: a power cut would lose acknowledged tasks.")
        return risks

    def now(self, conn: Connection) -> datetime:  # noqa: ARG002 - the machine's clock is the database's
        return from_micros(self._clock.micros())

    def transient(self, error: BaseException) -> bool:
        return isinstance(error, sqlalchemy_exc.OperationalError) and any(
            words in str(error.orig).lower() for words in _TRANSIENT
        )

    def insert(self, conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            conn.exec_driver_sql(_insert(table, tuple(rows[0])), [tuple(map(_plain, row.values())) for row in rows])

    def insert_keys(self, conn: Connection, rows: Sequence[dict[str, Any]], *, now: datetime) -> set[tuple[str, str]]:
        inserted = set()
        for row in rows:
            statement = _INSERT_KEY.on_conflict_do_update(
                index_elements=["project", "key"],
                set_={name: _INSERT_KEY.excluded[name] for name in ("body_hash", "task_ids", "expires_at")},
                where=idempotency_keys.c.expires_at <= now,
            ).returning(idempotency_keys.c.key)
            if conn.execute(statement, row).scalar() is not None:
                inserted.add((row["project"], row["key"]))
        return inserted

    def lock_lanes(self, conn: Connection, lanes: Iterable[Lane]) -> None:
        """Nothing: the write transaction holds the whole database."""

    def claim(self, conn: Connection, *, worker: str, limit: int, lease: timedelta, offset: timedelta) -> list[Task]:
        return claim_sqlite.claim(conn, worker=worker, limit=limit, lease=lease, now=self.now(conn) + offset)

    def extend(self, conn: Connection, leases: Sequence[Lease], *, until: datetime) -> set[UUID]:
        held: set[UUID] = set()
        for lease in leases:
            guard = {"guard_project": lease.project, "guard_id": lease.task_id, "guard_token": lease.token}
            if conn.execute(_EXTEND, {**guard, "until": until}).rowcount:
                held.add(lease.task_id)
        return held

    def match(self, conn: Connection, guards: Sequence[Guard], *, now: datetime) -> set[UUID]:
        found = conn.execute(
            _STATES, {"projects": {guard.project for guard in guards}, "ids": [guard.task_id for guard in guards]}
        )
        rows = {row.task_id: row for row in found}
        return {guard.task_id for guard in guards if _holds(guard, rows.get(guard.task_id), now)}

    def reschedule(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            conn.execute(_RESCHEDULE, [{f"after_{name}": value for name, value in row.items()} for row in rows])

    def delete_ready(self, conn: Connection, project_ids: Sequence[tuple[str, UUID]]) -> None:
        if project_ids:
            conn.execute(_DELETE_READY, [{"guard_project": project, "guard_id": id_} for project, id_ in project_ids])

    def send_hints(self, conn: Connection, hints: Iterable[Hint]) -> None:
        """Nothing: a reader sees what a transaction wrote only after its commit."""

    def sent_hints(self, hints: Iterable[Hint]) -> None:
        tell(self._file, hints)

    def listener(self, hints: frozenset[Hint]) -> Listener:
        return SqliteListener(self._file, hints)

    def _engine(self, *, pool_size: int, busy_timeout: int) -> Engine:
        engine = create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=self._wait,
            connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 0},
        )
        event.listen(engine, "connect", lambda raw, _: _configure(raw, busy_timeout, self._wait))
        return engine

    def _begin_immediate(self, conn: Connection) -> None:
        """Take the one write lock. Asking again every millisecond is fair between processes: SQLite's own busy handler
        sleeps ever longer, so that a busy neighbour starves us for seconds."""
        raw: Any = conn.connection.driver_connection
        deadline = time.monotonic() + self._wait
        while time.monotonic() < deadline:
            try:
                raw.execute("begin immediate")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(random.uniform(0.0005, 0.0015))  # noqa: S311 - to keep two waiters from marching in step
            else:
                return
        conn.exec_driver_sql("begin immediate")  # for the error, as SQLAlchemy words it


class _SteadyClock:
    """The machine's clock, but it never runs backwards while this process lives: then it goes on at the monotonic pace.
    A clock set back by an hour would else keep a dead worker's leases alive for an hour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last, self._last_monotonic = time.time_ns(), time.monotonic_ns()

    def micros(self) -> int:
        with self._lock:
            monotonic = time.monotonic_ns()
            self._last = max(time.time_ns(), self._last + monotonic - self._last_monotonic)
            self._last_monotonic = monotonic
            return self._last // 1000


def _holds(guard: Guard, row: Any, now: datetime) -> bool:
    if row is None or row.cancelled:
        return False
    same = (row.project, row.lease_token, row.seq) == (guard.project, guard.token, guard.seq)
    return same and (not guard.lapsed or row.lease_until <= now)


@lru_cache(maxsize=64)
def _insert(table: Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    # Every name comes from the schema.
    return f"insert into {table.name} ({columns}) values ({', '.join('?' * len(names))})"  # noqa: S608


def _plain(value: Any) -> Any:
    """A value as the driver takes it; SQLAlchemy's own conversion costs three times as much per row."""
    if isinstance(value, UUID):
        return value.bytes
    return to_micros(value) if isinstance(value, datetime) else value


def _configure(raw: Any, busy_timeout: int, wait: float) -> None:
    cursor = raw.cursor()
    deadline = time.monotonic() + wait
    while True:
        try:
            cursor.execute("pragma journal_mode=wal")
        except sqlite3.OperationalError:  # another process is switching a new file over at this moment
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            break
    cursor.execute(f"pragma busy_timeout={busy_timeout}")
    # NORMAL loses acknowledged tasks in a power cut; fullfsync asks Apple's disks for what others do anyway.
    cursor.execute("pragma synchronous=full")
    cursor.execute("pragma fullfsync=on")
    cursor.execute("pragma cache_size=-65536")
    cursor.execute("pragma temp_store=memory")
    cursor.close()


_INSERT_KEY = upsert(idempotency_keys)
_MINE = and_(ready.c.project == bindparam("guard_project"), ready.c.task_id == bindparam("guard_id"))
_EXTEND = (
    update(ready)
    .where(_MINE, ready.c.lease_token == bindparam("guard_token"), ready.c.cancelled.is_(False))
    .values(lease_until=bindparam("until"))
)
_STATES = select(
    ready.c.project, ready.c.task_id, ready.c.lease_token, ready.c.lease_until, ready.c.seq, ready.c.cancelled
).where(
    ready.c.project.in_(bindparam("projects", expanding=True)), ready.c.task_id.in_(bindparam("ids", expanding=True))
)
_RESCHEDULE = (
    update(ready)
    .where(ready.c.project == bindparam("after_project"), ready.c.task_id == bindparam("after_task_id"))
    .values(
        lease_token=None,
        lease_until=None,
        attempt_id=None,
        started_at=None,
        worker=None,
        **{name: bindparam(f"after_{name}") for name in ("not_before", "seq", "charged", "lost", "deferred", "memory")},
    )
)
_DELETE_READY = delete(ready).where(_MINE)
