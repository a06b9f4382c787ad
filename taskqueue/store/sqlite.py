"""SQLite 3.35 and later, in WAL mode, shared by the processes of one machine."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    and_,
    bindparam,
    create_engine,
    event,
    update,
)
from sqlalchemy import exc as sqlalchemy_exc
from sqlalchemy.dialects.sqlite import insert as upsert

from taskqueue.core.errors import InvalidSettings
from taskqueue.core.rota import HEAD_START
from taskqueue.core.task import Lease
from taskqueue.store.claim_sqlite import SqliteClaims
from taskqueue.store.columns import from_micros, to_micros
from taskqueue.store.dialect import Changes, Claims, Guard, Hint, Lane, Listener
from taskqueue.store.listen_sqlite import Bell, SqliteListener
from taskqueue.store.network_file import network_filesystem
from taskqueue.store.schema import idempotency_keys, ready
from taskqueue.store.sqlite_driver import driver, insert
from taskqueue.store.turns import Turns

# Where there is no such clock, as on macOS, the monotonic one counts sleep too.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
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
        self._clock = SteadyClock()
        self._turns, self._give_up_at = Turns(), 0.0
        self._bell = Bell(self._file)
        self._claims = SqliteClaims(lambda: from_micros(self._clock.micros()))

    def engines(self) -> tuple[Engine, Engine]:
        writer = self._engine(pool_size=1, busy_timeout=0)
        event.listen(writer, "begin", self._begin_immediate)
        event.listen(writer, "engine_disposed", lambda _: self._bell.close())
        reader = self._engine(pool_size=8, busy_timeout=int(self._wait * 1000))
        event.listen(reader, "begin", lambda conn: conn.exec_driver_sql("begin"))
        return writer, reader

    @contextmanager
    def turn(self) -> Iterator[None]:
        give_up_at = time.monotonic() + self._wait
        with self._turns.turn(self._wait):
            self._give_up_at = give_up_at  # waiting for other threads and for other processes is one wait
            yield

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
        cause = error.orig if isinstance(error, sqlalchemy_exc.DBAPIError) else error
        if isinstance(cause, TimeoutError):
            return True
        return isinstance(cause, sqlite3.OperationalError) and any(words in str(cause).lower() for words in _TRANSIENT)

    def write(self, conn: Connection, changes: Changes) -> bool:
        raw = driver(conn)
        for table, rows in changes.inserts.items():
            if rows:
                insert(conn, table, rows)
        if changes.rescheduled:
            raw.executemany(_RESCHEDULE, [_plain_hot_row(row) for row in changes.rescheduled])
        if changes.gone:
            gone = [(row["project"], row["task_id"].bytes) for row in changes.gone]
            raw.executemany("delete from ready where project = ? and task_id = ?", gone)
        now = self._clock.micros()
        for wake in changes.wakes:
            look_at = to_micros(wake["look_at"])
            # One that slept comes before those that are served all the time.
            ahead = look_at - (HEAD_START // timedelta(microseconds=1) if look_at <= now else 0)
            bound = {**wake, "look_at": look_at, "ahead": ahead}
            if not raw.execute(_WAKE, bound).rowcount:  # it is awake already, or nobody has made it yet
                raw.execute(_MAKE_STRAND, bound)
        return sum(raw.execute(_WAKE_BLOCKED, {**slot, "now": now}).rowcount for slot in changes.freed) > 0

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

    def release(self, conn: Connection, lanes: Sequence[Lane]) -> list[tuple[str, int | None, datetime]]:
        raw, lane_of = driver(conn), attrgetter("project", "queue", "key")
        found = [row for lane in lanes for row in raw.execute(_RELEASE, lane_of(lane) * 2)]
        return [(project, strand, from_micros(at)) for project, strand, at in found]

    def claims(self) -> Claims:
        return self._claims

    def extend(self, conn: Connection, leases: Sequence[Lease], *, until: datetime) -> set[UUID]:
        held: set[UUID] = set()
        for lease in leases:
            guard = {"guard_project": lease.project, "guard_id": lease.task_id, "guard_token": lease.token}
            if conn.execute(_EXTEND, {**guard, "until": until}).rowcount:
                held.add(lease.token)
        return held

    def match(self, conn: Connection, guards: Sequence[Guard], *, now: datetime) -> set[Guard]:
        found, moment = driver(conn).cursor(), to_micros(now)
        return {guard for guard in guards if found.execute(_HOLDS, _plain_guard(guard, moment)).fetchone()}

    def recount(self, conn: Connection) -> list[str]:  # noqa: ARG002 - without figures, it plans by the indexes alone
        return []

    def commit(self, conn: Connection, hints: Collection[Hint]) -> None:
        driver(conn).commit()
        if hints:
            self._bell.ring(hints)

    def listener(self, hints: frozenset[Hint]) -> Listener:
        return SqliteListener(self._file, hints)

    def _engine(self, *, pool_size: int, busy_timeout: int) -> Engine:
        engine = create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=self._wait,
            hide_parameters=True,  # errors are logged, and these are payloads and credentials
            connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 0},
        )
        event.listen(engine, "connect", lambda raw, _: _configure(raw, busy_timeout, self._wait))
        return engine

    def _begin_immediate(self, conn: Connection) -> None:
        """Take the one write lock. Asking again every millisecond is fair between processes: SQLite's own busy handler
        sleeps ever longer, so that a busy neighbour starves us for seconds."""
        raw = driver(conn)
        while time.monotonic() < self._give_up_at:
            try:
                raw.execute("begin immediate")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(random.uniform(0.0005, 0.0015))  # noqa: S311 - to keep two waiters from marching in step
            else:
                return
        conn.exec_driver_sql("begin immediate")  # for the error, as SQLAlchemy words it


class SteadyClock:
    """The machine's clock without its steps, while this process lives. Leases depend on it.

    Set back by an hour, the machine's clock would keep a dead worker's leases alive for that hour; set forward, it
    would end those of the living. So this one never runs backwards, and catches up with a forward step at twice its
    pace.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] | None = None) -> None:
        self._wall, self._steady = wall, steady or steady_ns
        self._lock = threading.Lock()
        self._last, self._last_steady = self._wall(), self._steady()

    def micros(self) -> int:
        with self._lock:
            steady = self._steady()
            passed = steady - self._last_steady
            ahead = self._wall() - (self._last + passed)
            self._last += passed + min(max(ahead, 0), passed)
            self._last_steady = steady
            return self._last // 1000


def steady_ns() -> int:
    """Goes on while the machine sleeps, as leases do."""
    return time.clock_gettime_ns(_BOOTTIME)


def _plain_guard(guard: Guard, now: int) -> tuple[Any, ...]:
    token = guard.token.bytes if guard.token is not None else None
    return guard.project, guard.task_id.bytes, token, guard.seq, guard.lapsed, now


def _plain_hot_row(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "not_before": to_micros(row["not_before"]), "task_id": row["task_id"].bytes}


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
    cursor.execute("pragma cache_size=-16384")  # KiB, for each of up to nine connections
    cursor.execute("pragma temp_store=memory")
    cursor.close()


_INSERT_KEY = upsert(idempotency_keys)
_MINE = and_(ready.c.project == bindparam("guard_project"), ready.c.task_id == bindparam("guard_id"))
_EXTEND = (
    update(ready)
    .where(_MINE, ready.c.lease_token == bindparam("guard_token"), ready.c.cancelled.is_(False))
    .values(lease_until=bindparam("until"))
)
_HOLDS = """
    select 1 from ready
     where project = ? and task_id = ? and lease_token is ? and seq = ? and not cancelled
       and (not ? or lease_until <= ?)
"""
_RELEASE = """
    update ready set held = 0
     where rowid = (select rowid from ready where project = ? and queue = ? and ordering_key = ?
                     order by lane_position limit 1)
       and held
       and not exists (select 1 from order_blocks
                        where project = ? and queue = ? and ordering_key = ? and position < ready.lane_position)
    returning project, strand, not_before
"""
_RESCHEDULE = """
    update ready
       set lease_token = null, lease_until = null, attempt_id = null, started_at = null, worker = null,
           not_before = :not_before, seq = :seq, charged = :charged, lost = :lost, deferred = :deferred,
           memory = :memory
     where project = :project and task_id = :task_id
"""
_MAKE_STRAND = """
    insert or ignore into strands (id, project, queue, flow_key, origin, priority, look_at, turn_at)
    select strand, project, queue, flow_key, origin, priority, :ahead, :ahead
      from ready where strand = :strand and project = :project and lease_token is null and not held limit 1
"""
_WAKE = """
    update strands
       set look_at = case when look_at is null then :ahead else :look_at end,
           turn_at = case when look_at is null then :ahead else min(turn_at, :look_at) end,
           blocked_on = null
     where id = :strand and project = :project and (look_at is null or look_at > :look_at)
"""
# Whoever frees a slot wakes as many of the strands that wait for one, and no more.
_WAKE_BLOCKED = """
    update strands set look_at = min(coalesce(look_at, :now), :now), blocked_on = null
     where rowid in (select rowid from strands where project = :project and blocked_on = :blocked_on
                      order by look_at limit :slots)
"""
