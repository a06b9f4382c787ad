"""PostgreSQL 15 and later, through psycopg 3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

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
    create_engine,
    event,
    text,
)
from sqlalchemy import exc as sqlalchemy_exc
from sqlalchemy.engine import ExceptionContext

from taskqueue.core.task import Lease
from taskqueue.store import claim_postgres
from taskqueue.store.columns import Id, Instant
from taskqueue.store.dialect import Guard, Hint, Lane, Listener
from taskqueue.store.listen_postgres import CHANNEL, PostgresListener

OLDEST = 150000
_RISKS = {
    "fsync": "fsync is off: a power cut would lose acknowledged tasks; set fsync = on.",
    "full_page_writes": "full_page_writes is off: a power cut could tear pages; set full_page_writes = on.",
    "synchronous_commit": "synchronous_commit is off: a crash would lose acknowledged tasks; set it to on.",
}
# SQLSTATEs after which the same statement may succeed: the classes of connection, resources, operator intervention and
# system errors, and of the others those that name a lost race, a lock, a standby or a timeout.
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_TRANSIENT_STATES = ("40001", "40P01", "55P03", "25006", "25P03", "25P04")
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
        self._url = url.set(drivername="postgresql+psycopg")
        self._wait, self._pool_size = wait, pool_size

    def engines(self) -> tuple[Engine, Engine]:
        return self._engine("READ COMMITTED"), self._engine("REPEATABLE READ")

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
        instant: datetime = conn.execute(text("select clock_timestamp()")).scalar_one()
        return instant

    def transient(self, error: BaseException) -> bool:
        if not isinstance(error, sqlalchemy_exc.DBAPIError):
            return False
        state = getattr(error.orig, "sqlstate", None)
        if state is None:  # the connection broke before the server could say anything
            return error.connection_invalidated or isinstance(error, sqlalchemy_exc.OperationalError)
        return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES

    def insert(self, conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            names = tuple(rows[0])
            conn.execute(_insert(table, names), {name: [row[name] for row in rows] for name in names})

    def insert_keys(self, conn: Connection, rows: Sequence[dict[str, Any]], *, now: datetime) -> set[tuple[str, str]]:
        # In key order, so that two groups with keys in common wait for each other instead of deadlocking.
        ordered = sorted(rows, key=lambda row: (row["project"], row["key"]))
        columns = {
            name: [row[name] for row in ordered] for name in ("project", "key", "body_hash", "task_ids", "expires_at")
        }
        return {(project, key) for project, key in conn.execute(_INSERT_KEYS, {**columns, "now": now})}

    def lock_lanes(self, conn: Connection, lanes: Iterable[Lane]) -> None:
        # A statement of its own: the snapshot of the next one then sees what earlier holders committed.
        numbers = sorted({_lane_number(lane) for lane in lanes})
        if numbers:
            conn.execute(_LOCK_LANES, {"numbers": numbers})

    def claim(self, conn: Connection, *, worker: str, limit: int, lease: timedelta, offset: timedelta) -> Sequence[Any]:
        return claim_postgres.claim(conn, worker=worker, limit=limit, lease=lease, offset=offset)

    def extend(self, conn: Connection, leases: Sequence[Lease], *, until: datetime) -> set[UUID]:
        ordered = sorted(leases, key=lambda lease: lease.task_id)
        columns = {
            "projects": [lease.project for lease in ordered],
            "ids": [lease.task_id for lease in ordered],
            "tokens": [lease.token for lease in ordered],
            "until": until,
        }
        return set(conn.execute(_EXTEND, columns).scalars())

    def match(self, conn: Connection, guards: Sequence[Guard], *, now: datetime) -> set[UUID]:
        columns = {
            "projects": [guard.project for guard in guards],
            "ids": [guard.task_id for guard in guards],
            "tokens": [guard.token for guard in guards],
            "seqs": [guard.seq for guard in guards],
            "lapsed": [guard.lapsed for guard in guards],
            "now": now,
        }
        return set(conn.execute(_MATCH, columns).scalars())

    def reschedule(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            conn.execute(_RESCHEDULE, {name: [row[name] for row in rows] for name in rows[0]})

    def delete_ready(self, conn: Connection, project_ids: Sequence[tuple[str, UUID]]) -> None:
        if project_ids:
            projects, ids = zip(*project_ids, strict=True)
            conn.execute(_DELETE_READY, {"projects": list(projects), "ids": list(ids)})

    def send_hints(self, conn: Connection, hints: Iterable[Hint]) -> None:
        for hint in hints:
            conn.execute(_NOTIFY, {"channel": CHANNEL, "hint": hint.value})

    def sent_hints(self, hints: Iterable[Hint]) -> None:
        """Nothing: the transaction carried them."""

    def listener(self, hints: frozenset[Hint]) -> Listener:
        return PostgresListener(self._url, hints)

    def _engine(self, isolation: Literal["READ COMMITTED", "REPEATABLE READ"]) -> Engine:
        milliseconds = int(self._wait / timedelta(milliseconds=1))
        options = (
            f"-c statement_timeout={milliseconds * 4} -c lock_timeout={milliseconds}"
            f" -c idle_in_transaction_session_timeout={milliseconds * 8} -c jit=off -c timezone=UTC"
        )
        engine = create_engine(
            self._url,
            isolation_level=isolation,
            pool_size=self._pool_size,
            max_overflow=0,
            pool_timeout=self._wait.total_seconds(),
            connect_args={
                **_SESSION,
                "options": options,
                "connect_timeout": max(1, round(self._wait.total_seconds())),
                "tcp_user_timeout": str(milliseconds * 4),
            },
        )
        event.listen(engine, "handle_error", _note_role_change)
        return engine


def _note_role_change(context: ExceptionContext) -> None:
    # After a failover the old primary refuses writes on a connection that looks healthy, and the pool would keep it.
    if getattr(context.original_exception, "sqlstate", None) == "25006":
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


@lru_cache(maxsize=64)
def _insert(table: Table, names: tuple[str, ...]) -> Any:
    """``insert … select from unnest``: one statement, planned once, for any number of rows."""
    types = {
        column.name: next(name for kind, name in _TYPE_NAMES if isinstance(column.type, kind)) for column in table.c
    }
    arrays = ", ".join(f"cast(:{name} as {types[name]}[])" for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    return text(f"insert into {table.name} ({columns}) select * from unnest({arrays})")  # noqa: S608 - names come from the schema


_INSERT_KEYS = text("""
    insert into idempotency_keys as old (project, key, body_hash, task_ids, expires_at)
    select * from unnest(cast(:project as text[]), cast(:key as text[]), cast(:body_hash as bytea[]),
                         cast(:task_ids as bytea[]), cast(:expires_at as timestamptz[]))
    on conflict (project, key) do update
       set body_hash = excluded.body_hash, task_ids = excluded.task_ids, expires_at = excluded.expires_at
     where old.expires_at <= :now
    returning project, key
""")

_LOCK_LANES = text("select pg_advisory_xact_lock(number) from unnest(cast(:numbers as bigint[])) as number")

_EXTEND = text("""
    with held as (
        select ready.ctid as place
          from unnest(cast(:projects as text[]), cast(:ids as uuid[]), cast(:tokens as uuid[]))
               as lease (project, id, token)
          join ready on ready.task_id = lease.id and ready.project = lease.project and ready.lease_token = lease.token
         where not ready.cancelled
         order by ready.task_id
           for update of ready)
    update ready set lease_until = :until where ctid = any(array(select place from held)) returning task_id
""")

_MATCH = text("""
    select ready.task_id
      from unnest(cast(:projects as text[]), cast(:ids as uuid[]), cast(:tokens as uuid[]), cast(:seqs as integer[]),
                  cast(:lapsed as boolean[])) as guard (project, id, token, seq, lapsed)
      join ready on ready.task_id = guard.id and ready.project = guard.project
     where ready.lease_token is not distinct from guard.token and ready.seq = guard.seq and not ready.cancelled
       and (not guard.lapsed or ready.lease_until <= :now)
     order by ready.task_id
       for update of ready
""")

_RESCHEDULE = text("""
    update ready
       set lease_token = null, lease_until = null, attempt_id = null, started_at = null, worker = null,
           not_before = after.not_before, seq = after.seq, charged = after.charged, lost = after.lost,
           deferred = after.deferred, memory = after.memory
      from unnest(cast(:project as text[]), cast(:task_id as uuid[]), cast(:not_before as timestamptz[]),
                  cast(:seq as integer[]), cast(:charged as integer[]), cast(:lost as integer[]),
                  cast(:deferred as integer[]), cast(:memory as bytea[]))
           as after (project, task_id, not_before, seq, charged, lost, deferred, memory)
     where ready.task_id = after.task_id and ready.project = after.project
""")

_DELETE_READY = text("""
    delete from ready using unnest(cast(:projects as text[]), cast(:ids as uuid[])) as gone (project, id)
     where ready.task_id = gone.id and ready.project = gone.project
""")

_OFF = text("select name from pg_settings where name = any(:names) and setting = 'off'")

_NOTIFY = text("select pg_notify(:channel, :hint)")
