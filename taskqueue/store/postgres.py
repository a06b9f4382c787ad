"""PostgreSQL 15 and later, through psycopg 3."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    TextClause,
    create_engine,
    event,
    text,
)
from sqlalchemy import exc as sqlalchemy_exc
from sqlalchemy.engine import ExceptionContext

from taskqueue.core.task import Lease
from taskqueue.store.claim_postgres import PostgresClaims
from taskqueue.store.columns import Id, Instant
from taskqueue.store.dialect import Changes, Claims, Guard, Hint, Lane, Listener
from taskqueue.store.listen_postgres import CHANNEL, Deaf, PostgresListener
from taskqueue.store.overdue import Overdue
from taskqueue.store.pooler import Pooler
from taskqueue.store.postgres_driver import changed_role, driver, execute
from taskqueue.store.schema import metadata, wakes

OLDEST = 150000
_NOW = "taskqueue_now"
_RISKS = {
    "fsync": "fsync is off: a power cut would lose acknowledged tasks; set fsync = on.",
    "full_page_writes": "full_page_writes is off: a power cut could tear pages; set full_page_writes = on.",
    "synchronous_commit": "synchronous_commit is off: a crash would lose acknowledged tasks; set it to on.",
}
# SQLSTATEs after which the same statement may succeed: the classes of connection, resources, operator intervention and
# system errors, and of the others those that name a lost race, a lock, a standby or a timeout.
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_TRANSIENT_STATES = ("40001", "40P01", "55P03", "25006", "25P03", "25P04")
# Every write finds its rows by key. A plan made while a table was small, and kept, would scan it once it is large.
_BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
_SESSION = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "application_name": "taskqueue",
}


class Postgres:
    """The PostgreSQL answers to ``Dialect``."""

    name = "postgresql"

    def __init__(self, url: URL, *, wait: timedelta, pool_size: int) -> None:
        self._url, self._pooler = Pooler.of(url.set(drivername="postgresql+psycopg"))
        self._wait, self._pool_size = wait, pool_size
        self._overdue = Overdue(wait * 5)  # beyond the server's statement timeout

    def engines(self) -> tuple[Engine, Engine]:
        return self._engine("read committed", _BY_KEY), self._engine("repeatable read, read only", {})

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def missing(self) -> bool:
        return False

    def check(self, conn: Connection) -> list[str]:
        version = int(conn.scalar(text("show server_version_num")) or 0)
        risks = (
            []
            if version >= OLDEST
            else ["PostgreSQL is older than 15, which is the oldest this version was proved on."]
        )
        off = set(conn.execute(_OFF, {"names": list(_RISKS)}).scalars())
        return risks + [risk for name, risk in _RISKS.items() if name in off]

    def now(self, conn: Connection) -> datetime:
        instant: datetime = conn.info[_NOW]
        return instant

    def transient(self, error: BaseException) -> bool:
        cause = error.orig if isinstance(error, sqlalchemy_exc.DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return False
        if cause.sqlstate is None:  # the connection broke before the server could say anything
            return isinstance(cause, psycopg.OperationalError)
        return cause.sqlstate[:2] in _TRANSIENT_CLASSES or cause.sqlstate in _TRANSIENT_STATES

    def write(self, conn: Connection, changes: Changes) -> bool:
        inserts = {**changes.inserts, wakes: changes.wakes}
        tables = [(table, rows) for table, rows in inserts.items() if rows]
        hot = {"rescheduled": changes.rescheduled, "gone": changes.gone, "freed": changes.freed}
        steps = tuple(name for name, rows in hot.items() if rows)
        if not tables and not steps:
            return False
        statement = _write(tuple((table, tuple(rows[0])) for table, rows in tables), steps)
        parameters = {table.name: _text(rows) for table, rows in tables}
        parameters |= {name: _text(hot[name]) for name in steps}
        (woken,) = execute(conn, statement, parameters).fetchone()
        return bool(woken)

    def insert_keys(self, conn: Connection, rows: Sequence[dict[str, Any]], *, now: datetime) -> set[tuple[str, str]]:
        # In key order, so that two groups with keys in common wait for each other instead of deadlocking.
        ordered = sorted(rows, key=lambda row: (row["project"], row["key"]))
        return {(project, key) for project, key in conn.execute(_INSERT_KEYS, {"rows": _text(ordered), "now": now})}

    def lock_lanes(self, conn: Connection, lanes: Iterable[Lane]) -> None:
        # A statement of its own: the snapshot of the next one then sees what earlier holders committed.
        numbers = sorted({_lane_number(lane) for lane in lanes})
        if numbers:
            conn.execute(_LOCK_LANES, {"numbers": numbers})

    def release(self, conn: Connection, lanes: Sequence[Lane]) -> list[tuple[str, int | None, datetime]]:
        return list(execute(conn, _RELEASE, {"rows": _text(lanes)}).fetchall()) if lanes else []

    def claims(self) -> Claims:
        return PostgresClaims()

    def extend(self, conn: Connection, leases: Sequence[Lease], *, until: datetime) -> set[UUID]:
        return set(conn.execute(_EXTEND, {"rows": _text(leases), "until": until}).scalars())

    def match(self, conn: Connection, guards: Sequence[Guard], *, now: datetime) -> set[Guard]:
        found = set(execute(conn, _MATCH, {"rows": _text(guards), "now": now}))
        return {guard for guard in guards if (guard.task_id, guard.token, guard.seq) in found}

    def recount(self, conn: Connection) -> list[str]:
        outgrown = list(conn.execute(_OUTGROWN, {"names": list(metadata.tables)}).scalars())
        if outgrown:
            conn.exec_driver_sql(f"analyze (skip_locked) {', '.join(outgrown)}")
        return outgrown

    def commit(self, conn: Connection, hints: Collection[Hint]) -> None:
        if hints:
            # Together in one message: the database notifies exactly those who could see the commit.
            told = "".join(f"select pg_notify('{CHANNEL}', '{hint.value}'); " for hint in hints)
            driver(conn).execute(f"{told}commit", prepare=False)

    def listener(self, hints: frozenset[Hint]) -> Listener:
        if self._pooler is None:
            return PostgresListener(self._url, hints)
        return PostgresListener(self._pooler.direct, hints) if self._pooler.direct is not None else Deaf()

    def _engine(self, mode: str, planner: Mapping[str, str]) -> Engine:
        milliseconds = int(self._wait / timedelta(milliseconds=1))
        session = {
            "statement_timeout": str(milliseconds * 4),
            "lock_timeout": str(milliseconds),
            "idle_in_transaction_session_timeout": str(milliseconds * 8),
            "jit": "off",
            "timezone": "UTC",
            **planner,
        }
        begin = f"begin isolation level {mode}; "
        connect_args: dict[str, Any] = {
            **_SESSION,
            "connect_timeout": max(1, round(self._wait.total_seconds())),
            "tcp_user_timeout": str(milliseconds * 4),
        }
        if self._pooler is None:
            connect_args["options"] = " ".join(f"-c {name}={value}" for name, value in session.items())
        else:  # the next transaction may be given another session, where neither settings nor statements are known
            begin += "".join(f"set local {name} = '{value}'; " for name, value in session.items())
            connect_args["prepare_threshold"] = None
        engine = create_engine(
            self._url,
            isolation_level="AUTOCOMMIT",  # transactions begin in _begin, with more than SQLAlchemy would say
            pool_size=self._pool_size,
            max_overflow=0,
            pool_timeout=self._wait.total_seconds(),
            hide_parameters=True,  # errors are logged, and these are payloads and credentials
            connect_args=connect_args,
        )
        event.listen(engine, "begin", lambda conn: _begin(conn, begin))
        event.listen(engine, "handle_error", _note_role_change)
        self._overdue.watch(engine)
        return engine


def _begin(conn: Connection, begin: str) -> None:
    """Begin and read the clock in one message; asking for each of them would cost a round trip of its own."""
    try:
        cursor = driver(conn).execute(f"{begin}select clock_timestamp()", prepare=False)
    except psycopg.OperationalError:
        # The server went away while this connection lay idle, and so did those beside it.
        conn.engine.dispose()
        raise
    while cursor.nextset():
        pass
    conn.info[_NOW] = cursor.fetchone()[0]


def _note_role_change(context: ExceptionContext) -> None:
    if changed_role(context.original_exception):
        context.is_disconnect = True


def _lane_number(lane: Lane) -> int:
    """The lane as an advisory lock; two lanes that share a number only wait for each other."""
    name = "\x1f".join((lane.project, lane.queue, lane.key)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)


_TYPE_NAMES = (
    (Id, "uuid"),
    (Instant, "timestamptz"),
    (Text, "text"),
    (LargeBinary, "bytea"),
    (Boolean, "boolean"),
    (SmallInteger, "smallint"),
    (BigInteger, "bigint"),
    (Integer, "integer"),
    (Float, "double precision"),
)
_encode = msgspec.json.Encoder().encode


def _text(rows: Sequence[object]) -> str:
    """Any number of rows as one parameter. The driver takes ten times as long to print an array per column."""
    return _encode(rows).decode()


def _records(alias: str, parameter: str = "rows", **types: str) -> str:
    """The rows of ``_text`` as a table; bytes arrive in base64."""
    columns = ", ".join(f'"{name}" {"text" if kind == "bytea" else kind}' for name, kind in types.items())
    return f"json_to_recordset(cast(:{parameter} as json)) as {alias} ({columns})"


@lru_cache(maxsize=256)
def _write(inserts: tuple[tuple[Table, tuple[str, ...]], ...], hot: tuple[str, ...]) -> TextClause:
    """One statement for all the changes a transaction makes: each costs a round trip only once."""
    parts = [_insert(table, names) for table, names in inserts]
    parts += [_HOT[name] for name in hot]
    steps = ", ".join(f"step{number} as ({part})" for number, part in enumerate(parts))
    woken = f"exists (select 1 from step{len(parts) - 1})" if "freed" in hot else "false"
    return text(f"with {steps} select {woken}")


def _insert(table: Table, names: tuple[str, ...]) -> str:
    types = {name: _type_name(table, name) for name in names}
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f"decode(\"{name}\", 'base64')" if types[name] == "bytea" else f'"{name}"' for name in names)
    return f"insert into {table.name} ({columns}) select {values} from {_records('fresh', table.name, **types)}"


def _type_name(table: Table, column: str) -> str:
    return next(name for kind, name in _TYPE_NAMES if isinstance(table.c[column].type, kind))


_KEYS = _records("fresh", project="text", key="text", body_hash="bytea", task_ids="bytea", expires_at="timestamptz")
_INSERT_KEYS = text(f"""
    insert into idempotency_keys as old (project, key, body_hash, task_ids, expires_at)
    select project, key, decode(body_hash, 'base64'), decode(task_ids, 'base64'), expires_at
      from {_KEYS}
    on conflict (project, key) do update
       set body_hash = excluded.body_hash, task_ids = excluded.task_ids, expires_at = excluded.expires_at
     where old.expires_at <= :now
    returning project, key
""")

# The server counts for itself, but once a minute: until then, what was planned when a table lay empty would walk over
# all of a burst. One worker at a time, and only for growth: figures that are too high mislead no plan.
_OUTGROWN = text("""
    select seen.relname
      from pg_stat_user_tables as seen join pg_class as known on known.oid = seen.relid
     where pg_table_is_visible(seen.relid) and seen.relname = any(:names)
       and n_live_tup > 1000 + 4 * greatest(reltuples, 0)
       and pg_try_advisory_xact_lock(hashtext('taskqueue recount'))
""")

_LOCK_LANES = text("select pg_advisory_xact_lock(number) from unnest(cast(:numbers as bigint[])) as number")

# By id and not by ctid: a head that somebody changes meanwhile must be let go all the same.
_RELEASE = text(f"""
    update ready set held = false
      from {_records("lane", project="text", queue="text", key="text")}
     cross join lateral (
            select task_id, project, lane_position from ready
             where ready.project = lane.project and ready.queue = lane.queue and ready.ordering_key = lane.key
             order by lane_position limit 1) as head
     where ready.task_id = head.task_id and ready.project = head.project and ready.held
       and not exists (
            select 1 from order_blocks
             where order_blocks.project = lane.project and order_blocks.queue = lane.queue
               and order_blocks.ordering_key = lane.key and order_blocks.position < head.lane_position)
    returning ready.project, ready.strand, ready.not_before
""")

_EXTEND = text(f"""
    with held as (
        select ready.project, ready.task_id, ready.lease_token
          from {_records("lease", project="text", task_id="uuid", token="uuid")}
          join ready on ready.task_id = lease.task_id and ready.project = lease.project
         where ready.lease_token = lease.token and not ready.cancelled
         order by ready.task_id
           for update of ready)
    update ready set lease_until = :until from held
     where ready.project = held.project and ready.task_id = held.task_id and ready.lease_token = held.lease_token
    returning ready.lease_token
""")

_MATCH = text(f"""
    select ready.task_id, ready.lease_token, ready.seq
      from {_records("guard", project="text", task_id="uuid", token="uuid", seq="integer", lapsed="boolean")}
      join ready on ready.task_id = guard.task_id and ready.project = guard.project
     where ready.lease_token is not distinct from guard.token and ready.seq = guard.seq and not ready.cancelled
       and (not guard.lapsed or ready.lease_until <= :now)
     order by ready.task_id
       for update of ready
""")

_AFTER = _records(
    "after",
    "rescheduled",
    project="text",
    task_id="uuid",
    not_before="timestamptz",
    seq="integer",
    charged="integer",
    lost="integer",
    deferred="integer",
    memory="bytea",
)
_RESCHEDULE = f"""
    update ready
       set lease_token = null, lease_until = null, attempt_id = null, started_at = null, worker = null,
           not_before = after.not_before, seq = after.seq, charged = after.charged, lost = after.lost,
           deferred = after.deferred, memory = decode(after.memory, 'base64')
      from {_AFTER}
     where ready.task_id = after.task_id and ready.project = after.project
"""

_DELETE_READY = f"""
    delete from ready using {_records("leaving", "gone", project="text", task_id="uuid")}
     where ready.task_id = leaving.task_id and ready.project = leaving.project
"""

# Whoever frees a slot wakes as many of the strands that wait for one, and no more.
_WAKE_BLOCKED = f"""
    insert into wakes (project, strand, look_at)
    select strand.project, strand.id, statement_timestamp()
      from {_records("slot", "freed", project="text", blocked_on="text", slots="integer")}
     cross join lateral (
            select id, project from strands
             where strands.project = slot.project and strands.blocked_on = slot.blocked_on
             order by look_at limit slot.slots) as strand
    returning id
"""
_HOT = {"rescheduled": _RESCHEDULE, "gone": _DELETE_READY, "freed": _WAKE_BLOCKED}

_OFF = text("select name from pg_settings where name = any(:names) and setting = 'off'")
