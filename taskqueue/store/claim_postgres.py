"""The claim on PostgreSQL, whole: one statement that leases due rows and returns them joined to their tasks."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text
from uuid_utils import uuid7

from taskqueue.core.task import Task
from taskqueue.store.rows import claimed_task, records

# By ctid, not by id: the usual join back to a list of ids turns into a sequential scan once its plan is generic.
# Never `in (select … limit n for update skip locked)`: the planner may run the subquery again and take more than n.
# Attempt ids begin with the same 48 bits of time as any UUIDv7; the rest is drawn by the database for each row.
_CLAIM = text("""
    with leased as (
        update ready
           set lease_token = gen_random_uuid(),
               lease_until = statement_timestamp() + make_interval(secs => :offset) + make_interval(secs => :lease),
               attempt_id = cast(:id_head || substr(gen_random_uuid()::text, 16) as uuid),
               started_at = statement_timestamp() + make_interval(secs => :offset),
               worker = :worker,
               number = number + 1,
               seq = seq + 1
         where ctid = any(array(
                select ctid from ready
                 where lease_token is null and not held
                   and not_before <= statement_timestamp() + make_interval(secs => :offset)
                   and expires_at > statement_timestamp() + make_interval(secs => :offset)
                 order by not_before
                 limit :limit
                   for update skip locked))
        returning task_id, project as owner, generation, revision, expires_at as live_until, seq, number, charged, lost,
                  deferred, memory, lease_token, attempt_id, started_at, worker)
    select leased.*, tasks.*
      from leased join tasks on tasks.id = leased.task_id and tasks.project = leased.owner
""")


def claim(conn: Connection, *, worker: str, limit: int, lease: timedelta, offset: timedelta) -> list[Task]:
    """Lease up to ``limit`` due tasks; a row that changed since the snapshot is missed for one round, never doubled."""
    found = conn.execute(
        _CLAIM,
        {
            "worker": worker,
            "limit": limit,
            "lease": lease.total_seconds(),
            "offset": offset.total_seconds(),
            "id_head": str(uuid7())[:15],
        },
    )
    return [claimed_task(row) for row in records(found)]
