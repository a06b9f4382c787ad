"""The claim on PostgreSQL, statement by statement. One transaction at a time holds its lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, text
from uuid_utils import uuid7

from taskqueue.core.rota import AGEING, HEAD_START, Look, Offer
from taskqueue.store.dialect import Due, Leased, Leasing
from taskqueue.store.postgres_driver import execute, named
from taskqueue.store.room import COLUMNS, JOINS, NAMES, PROJECTS, SOME_EMPTY, of_ring
from taskqueue.store.rows import claimed_task
from taskqueue.store.schema import tasks

_encode = msgspec.json.Encoder().encode
_FOLDED = 2000  # wakes per claim
# How long a worker that stalls in the middle of a claim may keep the others from theirs.
_STALL = timedelta(seconds=1)

# A statement of its own: the snapshot of the next one then sees what every claim before left. The clock is read after
# the wait for the lock, for what an earlier claim wrote must not lie in this one's future.
_ENTER = text(f"""
    select pg_advisory_xact_lock(hashtext('taskqueue claim')),
           set_config('idle_in_transaction_session_timeout', '{_STALL // timedelta(milliseconds=1)}', true),
           clock_timestamp() as now
""")

# One that slept comes before those that are served all the time.
_AHEAD = f"make_interval(secs => {HEAD_START.total_seconds()})"
# What others told, and who is due after that, in one statement: each costs a round trip. Unknown strands are made here,
# not by those who submit: of two at once, the second would wait for the commit of the first. By ctid, as everywhere in
# the claim: ids that are joined back make a plan walk over the table once it is generic. Locked, so that a strand which
# is just being forgotten is found to be unknown rather than moved in vain.
_DUE = text(f"""
    with told as (
        delete from wakes
         where ctid = any(array(select ctid from wakes order by id limit {_FOLDED} for update skip locked))
        returning project, strand, look_at),
    earliest as (select project, strand, min(look_at) as look_at, count(*) as told from told group by project, strand),
    known as materialized (
        select earliest.*, strand.tid,
               earliest.look_at - case when earliest.look_at <= :now then {_AHEAD} else interval '0' end as ahead
          from earliest
         cross join lateral (
                select ctid as tid from strands
                 where strands.id = earliest.strand and strands.project = earliest.project
                   for update) as strand),
    moved as (
        update strands
           set look_at = case when strands.look_at is null then known.ahead else known.look_at end,
               turn_at = case when strands.look_at is null then known.ahead
                              when strands.blocked_on is not null then strands.turn_at
                              else least(strands.turn_at, known.look_at) end,
               blocked_on = null
          from known
         where strands.ctid = known.tid and (strands.look_at is null or strands.look_at > known.look_at)
        returning strands.*),
    made as (
        insert into strands (id, project, queue, flow_key, origin, priority, look_at, turn_at)
        select strand, project, queue, flow_key, origin, priority,
               cast(:now as timestamptz) - {_AHEAD}, cast(:now as timestamptz) - {_AHEAD}
          from earliest
         cross join lateral (
                select queue, flow_key, origin, priority from ready
                 where ready.strand = earliest.strand and ready.project || '' = earliest.project
                   and lease_token is null and not held limit 1) as waiting
         where not exists (
                select 1 from known where known.strand = earliest.strand and known.project = earliest.project)
        on conflict do nothing
        returning *),
    due as materialized (
        (select * from strands as standing
          where look_at <= :now
            and not exists (select 1 from moved where moved.id = standing.id and moved.project = standing.project)
          order by look_at limit :limit)
        union all
        select * from moved where look_at <= :now
        union all
        select * from made)
    select inbox.told, around.waiting, {COLUMNS}
      from (select coalesce(sum(told), 0) as told from earliest) as inbox
     cross join (select count(*) as waiting from due) as around
      left join due on around.waiting < :limit
      {JOINS}
""")

_STEP = f"make_interval(secs => {AGEING.total_seconds()})"
_DUE_BY_PROJECT = text(f"""
    with recursive ring (project, place) as (
        (select project, 1 from strands where look_at is not null and project > :after order by project limit 1)
        union all
        select (select later.project from strands as later
                 where later.look_at is not null and later.project > ring.project order by later.project limit 1),
               ring.place + 1
          from ring where ring.project is not null and ring.place < {PROJECTS})
    select ring.project as ring, {COLUMNS}
      from ring
      left join lateral (
            select strand.* from generate_series(0, 9) as level (priority)
             cross join lateral (
                    select * from strands
                     where strands.project = ring.project and strands.priority = level.priority
                       and strands.look_at <= :now
                     order by strands.look_at limit :breadth) as strand) as due on true
      {JOINS}
     where ring.project is not null
""")

_BLOCKED = text(f"""
    select {COLUMNS}
      from json_to_recordset(cast(:limits as json)) as free (project text, name text, slots int)
     cross join lateral (
            select * from strands
             where strands.project = free.project and strands.blocked_on = free.name and strands.look_at > :now
             order by strands.turn_at - strands.priority * {_STEP}
             limit free.slots) as due
      {JOINS}
""")

_HOT = (
    "task_id",
    "strand",
    "generation",
    "revision",
    "seq",
    "number",
    "charged",
    "lost",
    "deferred",
    "memory",
    "lease_token",
    "attempt_id",
    "started_at",
    "worker",
)
_LEASED = {
    **{name: f"leased.{name}" for name in _HOT},
    "live_until": "leased.expires_at",
    **{column.name: f'tasks."{column.name}"' for column in tasks.c if column.name not in ("id", "expires_at")},
}
# Never `in (select … limit n for update skip locked)`: the planner may run the subquery again and take more than n.
# The project is compared as an expression, here and above, which no index knows: as long as a table's figures say that
# it is empty, any index with the project in it looks as good as the right one, and walks over all that the project has.
# Attempt ids begin with the same 48 bits of time as any UUIDv7; the rest is drawn by the database for each row.
_LEASE = text(f"""
    with picked as materialized (
        select waiting.tid
          from json_to_recordset(cast(:offers as json)) as offer (place int, project text, strand bigint, quota int)
         cross join lateral (
                select ctid as tid, not_before from ready
                 where ready.strand = offer.strand and ready.project || '' = offer.project
                   and lease_token is null and not held and not_before <= :now and expires_at > :now
                 order by not_before limit offer.quota
                   for update skip locked) as waiting
         order by offer.place, waiting.not_before
         limit :limit),
    leased as (
        update ready
           set lease_token = gen_random_uuid(),
               lease_until = :until,
               attempt_id = cast(:id_head || substr(gen_random_uuid()::text, 16) as uuid),
               started_at = :now,
               worker = :worker,
               number = number + 1,
               seq = seq + 1
         where ctid = any(array(select tid from picked))
        returning ready.*)
    select {", ".join(f'{where} as "{name}"' for name, where in _LEASED.items())}
      from leased join tasks on tasks.id = leased.task_id and tasks.project || '' = leased.project
""")

_LOOK_AGAIN = text("""
    with seen as materialized (
        select look.*, strand.tid, next.not_before,
               case when not look.drained then look.look_at
                    when next.not_before is not null then greatest(next.not_before, look.look_at) end as again
          from json_to_recordset(cast(:looks as json))
               as look (project text, strand bigint, look_at timestamptz, drained boolean, waits boolean,
                        blocked_on text)
         cross join lateral (
                select ctid as tid from strands
                 where strands.id = look.strand and strands.project = look.project) as strand
          left join lateral (
                select not_before from ready
                 where look.drained and ready.strand = look.strand and ready.project || '' = look.project
                   and lease_token is null and not held and expires_at > :now
                 order by not_before limit 1) as next on true)
    update strands
       set look_at = seen.again,
           turn_at = case when seen.waits then strands.turn_at else seen.again end,
           blocked_on = case when not seen.drained or seen.not_before <= :now then seen.blocked_on end
      from seen
     where strands.ctid = seen.tid
""")


class PostgresClaims:
    """The PostgreSQL answers to ``Claims``."""

    def enter(self, conn: Connection) -> datetime:
        now: datetime = execute(conn, _ENTER, {}).fetchone()[-1]
        return now

    def due(self, conn: Connection, *, now: datetime, limit: int) -> Due:
        found = named(execute(conn, _DUE, {"now": now, "limit": limit}), ("told", "waiting", *NAMES))
        told, waiting, *_ = found[0]
        return Due([row for row in found if row.id is not None], many=waiting >= limit, folded=told < _FOLDED)

    def due_by_project(self, conn: Connection, *, after: str, now: datetime, breadth: int) -> tuple[list[Any], str]:
        bound = {"after": after, "now": now, "breadth": breadth}
        return of_ring(named(execute(conn, _DUE_BY_PROJECT, bound), ("ring", *NAMES)))

    def blocked(self, conn: Connection, limits: Mapping[tuple[str, str], int], *, now: datetime) -> list[Any]:
        free = [
            {"project": project, "name": name, "slots": slots + SOME_EMPTY} for (project, name), slots in limits.items()
        ]
        return named(execute(conn, _BLOCKED, {"limits": _encode(free).decode(), "now": now}), NAMES)

    def lease(self, conn: Connection, offers: Sequence[Offer], *, limit: int, leasing: Leasing) -> Leased:
        parameters = {
            "offers": _encode([_offer(number, offer) for number, offer in enumerate(offers)]).decode(),
            "limit": limit,
            "now": leasing.now,
            "until": leasing.until,
            "worker": leasing.worker,
            "id_head": str(uuid7())[:15],
        }
        return [(row.strand, claimed_task(row)) for row in named(execute(conn, _LEASE, parameters), tuple(_LEASED))]

    def look_again(self, conn: Connection, looks: Sequence[Look], *, now: datetime) -> None:
        execute(conn, _LOOK_AGAIN, {"looks": _encode([_look(look) for look in looks]).decode(), "now": now})


def _offer(number: int, offer: Offer) -> dict[str, Any]:
    place = offer.place
    return {"place": number, "project": place.project, "strand": place.strand, "quota": offer.quota}


def _look(look: Look) -> dict[str, Any]:
    place = look.place
    return {
        "project": place.project,
        "strand": place.strand,
        "look_at": look.at,
        "drained": look.drained,
        "waits": look.waits,
        "blocked_on": look.blocked_on,
    }
