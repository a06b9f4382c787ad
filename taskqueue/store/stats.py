"""What waits, what runs and how fast it goes, of a queue or a flow key. Nothing here counts without end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Connection,
    Executable,
    FromClause,
    bindparam,
    exists,
    func,
    select,
    true,
    union,
    union_all,
)

from taskqueue.core.task import Kind
from taskqueue.store import order_blocks
from taskqueue.store.database import Database
from taskqueue.store.schema import LEASED, NEVER_DIED, ONCE_DIED, WAITING, endings, ready, strands, tasks, wakes

MOST = 10_000  # rows that are counted of one kind
MOST_OF_MANY = 500  # where several are looked at together
_SAMPLE = 5_000  # newest rows of a project, from which the rates of its parts are estimated
_WINDOW = timedelta(minutes=1)  # over which rates are taken
_AT_ONCE = 500  # strands in one statement
_WAKES = 1_000  # of those that no claim has taken in yet
_SHORTEST = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many tasks live, by what keeps them. ``capped``: of some kind there are more than were counted."""

    scheduled: int
    queued: int
    running: int
    retrying: int
    held: int  # behind others of their ordering key; in none of the other numbers
    capped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How a queue or a flow key stands."""

    depth: Depth
    in_flight: int  # what counts against the concurrency: running, or cancelled and still on the wire
    oldest_ready: timedelta | None  # how long what became due first has been due; ``None`` when nothing is
    arrived_per_second: float
    ended_per_second: float
    blocked_keys: int = 0  # ordering keys of a queue of which nothing starts because a task died


def of_queues(
    conn: Connection, database: Database, project: str, names: Sequence[str], *, most: int = MOST
) -> dict[str, Stats]:
    """How each queue stands now, with its rates over the last minute.

    Of each kind up to ``most`` are counted. So are arrivals: of more, the rate is that of the newest so many. The rate
    of endings is estimated from the newest of the whole project, and so covers less than a minute when there are many.
    """
    now = database.now(conn)
    ended = _ended(conn, _QUEUE, project, now)
    return {
        name: replace(
            _stats(conn, _QUEUE, project, name, now, most, _arrived(conn, project, name, now, most), ended),
            blocked_keys=order_blocks.count_keys(conn, project, name, most=most),
        )
        for name in names
    }


def of_flow_keys(
    conn: Connection, database: Database, project: str, keys: Sequence[str], *, most: int = MOST
) -> dict[str, Stats]:
    """How each flow key stands now. As for queues, but the rate of arrivals is estimated from the whole project's too,
    and ``held`` counts among its first ``most`` tasks with an ordering key alone."""
    now = database.now(conn)
    arrived, ended = _arrived_by_flow_key(conn, project, now), _ended(conn, _FLOW_KEY, project, now)
    return {key: _stats(conn, _FLOW_KEY, project, key, now, most, arrived.get(key, 0.0), ended) for key in keys}


def strands_with(
    conn: Connection, project: str, *, queue: str | None = None, flow_key: str | None = None
) -> list[Sequence[int]]:
    """The ids of the strands of a queue or of a flow key, some at a time.

    For statements about what waits in them: given as a list they are looked up in the index whatever the planner makes
    of the rest, as a subquery they may be sought in every row that waits.
    """
    kind, name = (_QUEUE, queue) if queue is not None else (_FLOW_KEY, flow_key)
    ids = conn.execute(kind.strands, {"of_project": project, "of_name": name}).scalars().all()
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]


@dataclass(frozen=True, slots=True)
class _Kind:
    """By which columns tasks belong together, and the statements made from them."""

    strands: Executable
    rest: Executable  # what is not in the strands
    ended: Executable


def _stats(
    conn: Connection,
    kind: _Kind,
    project: str,
    name: str,
    now: datetime,
    most: int,
    arrived: float,
    ended: Mapping[str, float],
) -> Stats:
    asked = {"of_project": project, "of_name": name, "now": now, "most": most + 1}
    its = strands_with(conn, project, **({"queue": name} if kind is _QUEUE else {"flow_key": name}))
    waiting = _waiting(conn, its, asked)
    rest = conn.execute(kind.rest, asked).one()
    due, later = waiting["queued"] + waiting["failed_due"], waiting["scheduled"] + waiting["failed_later"]
    return Stats(
        depth=Depth(
            scheduled=min(waiting["scheduled"], most),
            queued=min(waiting["queued"], most),
            running=rest.running,
            retrying=min(waiting["failed_due"] + waiting["failed_later"], most),
            held=rest.held,
            capped=max(due, later, rest.in_lanes) > most,
        ),
        in_flight=rest.in_flight,
        oldest_ready=now - rest.oldest if rest.oldest is not None and rest.oldest <= now else None,
        arrived_per_second=arrived,
        ended_per_second=ended.get(name, 0.0),
    )


def _waiting(conn: Connection, its: Sequence[Sequence[int]], asked: Mapping[str, Any]) -> Counter[str]:
    """What waits in the strands, by kind; there may be more once the due or the later ones are more than ``most``."""
    found: Counter[str] = Counter()
    for ids in its:
        found.update(conn.execute(_WAITING, {**asked, "strands": ids}).one()._asdict())
        if min(found["queued"] + found["failed_due"], found["scheduled"] + found["failed_later"]) >= asked["most"]:
            break
    return found


def _arrived(conn: Connection, project: str, queue: str, now: datetime, most: int) -> float:
    asked = {"of_project": project, "of_name": queue, "since": _first_id(now - _WINDOW)}
    count = conn.execute(_ARRIVED, {**asked, "most": most}).scalar_one()
    oldest = conn.execute(_NTH_ARRIVED, {**asked, "nth": most - 1}).scalar() if count == most else None
    return _rate(count, now, _minted_at(oldest) if oldest is not None else None)


def _arrived_by_flow_key(conn: Connection, project: str, now: datetime) -> dict[str, float]:
    asked = {"of_project": project, "since": _first_id(now - _WINDOW), "most": _SAMPLE}
    return _rates(conn.execute(_ARRIVED_BY_FLOW_KEY, asked).all(), now)


def _ended(conn: Connection, kind: _Kind, project: str, now: datetime) -> dict[str, float]:
    asked = {"of_project": project, "since": now - _WINDOW, "most": _SAMPLE}
    return _rates(conn.execute(kind.ended, asked).all(), now)


def _rates(rows: Sequence[Any], now: datetime) -> dict[str, float]:
    """How many a second of each name, from the newest rows of all; when those are not all, since the oldest of them."""
    oldest = min(row.oldest for row in rows) if sum(row.size for row in rows) >= _SAMPLE else None
    return {row.name: _rate(row.size, now, oldest) for row in rows}


def _rate(count: int, now: datetime, since: datetime | None) -> float:
    window = _WINDOW if since is None else max(now - since, _SHORTEST)
    return count / min(window, _WINDOW).total_seconds()


def _first_id(instant: datetime) -> UUID:
    """What every id minted from then on comes after. Ids carry the clock of the process that minted them."""
    return UUID(int=max(0, int(instant.timestamp() * 1000)) << 80)


def _minted_at(id_: UUID) -> datetime:
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)


_OF_PROJECT = ready.c.project == bindparam("of_project")
_MOST: BindParameter[int] = bindparam("most")
_NAME: BindParameter[str] = bindparam("of_name")


def _in_one(*parts: FromClause) -> Executable:
    """Statements of one row each as one."""
    joined, *rest = parts
    for part in rest:
        joined = joined.join(part, true())
    return select(*(column for part in parts for column in part.c)).select_from(joined)


def _strands(in_strands: ColumnElement[str], in_ready: ColumnElement[str]) -> CompoundSelect[int]:
    # On PostgreSQL a strand is made by the first claim that hears of it. Until then, and while no worker runs, what
    # waits in it is known by the wakes alone.
    first = select(wakes.c.project, wakes.c.strand).order_by(wakes.c.id).limit(_WAKES).subquery()
    told = select(first.c.strand).where(first.c.project == bindparam("of_project")).subquery()
    one = select(in_ready).where(WAITING, ready.c.strand == told.c.strand).limit(1).scalar_subquery()
    made = strands.c.project == bindparam("of_project")
    return union(
        select(strands.c.id.label("id")).where(made, in_strands == _NAME),
        select(told.c.strand).where(~exists(select(1).where(made, strands.c.id == told.c.strand)), one == _NAME),
    )


def _rest(its: CompoundSelect[int], in_ready: ColumnElement[str], lanes: Sequence[ColumnElement[bool]]) -> Executable:
    """What is held, what runs, and the instant at which the first of what waits became due."""
    mine = its.cte()
    lane = select(ready.c.held, in_ready.label("name")).where(_OF_PROJECT, ready.c.ordering_key.is_not(None), *lanes)
    in_lanes = lane.limit(_MOST).subquery()
    # The first of each strand, which the index has at hand: the least of all at once would be sought among all.
    first = select(func.min(ready.c.not_before)).where(WAITING, ready.c.strand == mine.c.id).scalar_subquery()
    firsts = select(first.label("first")).select_from(mine).subquery()
    its_held = func.count().filter(in_lanes.c.held, in_lanes.c.name == _NAME).label("held")
    sent = func.count().filter(ready.c.cancelled.is_(False)).label("running")
    leased = (_OF_PROJECT, in_ready == _NAME, LEASED)
    return _in_one(
        select(its_held, func.count().label("in_lanes")).select_from(in_lanes).subquery(),
        select(func.min(firsts.c.first).label("oldest")).subquery(),
        select(func.count().label("in_flight"), sent).where(*leased).subquery(),
    )


def _two(number: ColumnElement[int], fresh: str, failed: str) -> FromClause:
    """How many have not been tried yet, and how many have."""
    counts = select(func.count().filter(number == 0).label(fresh), func.count().filter(number > 0).label(failed))
    return counts.subquery()


def _ended_by(name: ColumnElement[str]) -> Executable:
    its = (endings.c.project == bindparam("of_project"), endings.c.finished_at > bindparam("since"))
    # One for each of the two indexes on ages, then the newest of both.
    aged = [
        select(endings.c.task_id, endings.c.finished_at)
        .where(*its, age)
        .order_by(endings.c.finished_at.desc())
        .limit(_MOST)
        .subquery()
        for age in (NEVER_DIED, ONCE_DIED)
    ]
    both = union_all(*(select(part) for part in aged)).subquery()
    newest = select(both).order_by(both.c.finished_at.desc()).limit(_MOST).subquery()
    return (
        select(name.label("name"), func.count().label("size"), func.min(newest.c.finished_at).label("oldest"))
        .join_from(newest, tasks, tasks.c.id == newest.c.task_id)
        .where(tasks.c.project == bindparam("of_project"))
        .group_by(name)
    )


_TASKS = (tasks.c.project == bindparam("of_project"), tasks.c.id >= bindparam("since"))
_FLOW_KEY_OF_TASK = func.coalesce(tasks.c.flow_key, tasks.c.origin)
_QUEUE_STRANDS = _strands(strands.c.queue, ready.c.queue)
_FLOW_KEY_STRANDS = _strands(strands.c.flow_key, ready.c.flow_key)
_QUEUE = _Kind(
    strands=_QUEUE_STRANDS,
    rest=_rest(_QUEUE_STRANDS, ready.c.queue, [ready.c.queue == _NAME]),
    ended=_ended_by(tasks.c.queue),
)
_FLOW_KEY = _Kind(
    strands=_FLOW_KEY_STRANDS,
    rest=_rest(_FLOW_KEY_STRANDS, ready.c.flow_key, []),
    ended=_ended_by(_FLOW_KEY_OF_TASK),
)
_IN_STRANDS = select(ready.c.number).where(
    WAITING, _OF_PROJECT, ready.c.strand.in_(bindparam("strands", expanding=True))
)
_DUE = _IN_STRANDS.where(ready.c.not_before <= bindparam("now")).limit(_MOST).subquery()
_LATER = _IN_STRANDS.where(ready.c.not_before > bindparam("now")).limit(_MOST).subquery()
_WAITING = _in_one(_two(_DUE.c.number, "queued", "failed_due"), _two(_LATER.c.number, "scheduled", "failed_later"))
_NEWEST = select(tasks.c.id).where(*_TASKS, tasks.c.queue == _NAME).order_by(tasks.c.id.desc())
_ARRIVED = select(func.count()).select_from(_NEWEST.limit(_MOST).subquery())
_NTH_ARRIVED = _NEWEST.offset(bindparam("nth")).limit(1)
# One for each kind, by which the index on the newest starts.
_NEWEST_OF_KINDS = [
    select(_FLOW_KEY_OF_TASK.label("name"), tasks.c.created_at, tasks.c.id)
    .where(*_TASKS, tasks.c.kind == kind)
    .order_by(tasks.c.id.desc())
    .limit(_MOST)
    .subquery()
    for kind in Kind
]
_OF_BOTH = union_all(*(select(part) for part in _NEWEST_OF_KINDS)).subquery()
_NEWEST_OF_ALL = select(_OF_BOTH).order_by(_OF_BOTH.c.id.desc()).limit(_MOST).subquery()
_ARRIVED_BY_FLOW_KEY = select(
    _NEWEST_OF_ALL.c.name, func.count().label("size"), func.min(_NEWEST_OF_ALL.c.created_at).label("oldest")
).group_by(_NEWEST_OF_ALL.c.name)
