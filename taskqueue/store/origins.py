"""The breakers of origins: what attempts said of their hosts, counted and kept where every worker sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, text, update

from taskqueue.core.breaker import (
    LONGEST_SPAN,
    SKEW,
    SOUND_AFTER,
    Breaker,
    BreakerState,
    Mark,
    closed,
    fresh,
    listens,
    observed,
    room,
)
from taskqueue.store import strands
from taskqueue.store.database import Database
from taskqueue.store.queue_tables import origins
from taskqueue.store.search import Page, read_name, write_name

Place = tuple[str, str]  # project and origin
# A closed breaker is worth its row while a further opening would follow on the last; any other, whose origin nobody
# calls any more, for a day.
_QUIET = 2 * SOUND_AFTER
_ABANDONED = timedelta(days=1)
_TOGETHER = 500  # origins asked for in one statement


@dataclass(frozen=True, slots=True)
class Noted:
    """What a report made of one breaker."""

    before: Breaker
    after: Breaker


def heeded(conn: Connection, database: Database, places: Collection[Place]) -> dict[Place, Breaker]:
    """Those breakers to which even signs of life say something. Without a row, or failures lately, they do not."""
    now = database.now(conn)
    found = _found(conn, places, locked=False)
    return {place: breaker for place, breaker in found.items() if listens(breaker, now)}


def report(
    conn: Connection, database: Database, marks: Mapping[Place, Sequence[Mark]], *, jitter: float
) -> list[Noted]:
    """Count ``marks``; return what became of every breaker that they are about.

    Of an origin without one, signs of life alone are forgotten. Strands that may start more than before are woken.
    """
    failing = [place for place, its in marks.items() if any(mark.failed for mark in its)]
    # New rows first, then all locks: both in the order of their keys, so that no two reports wait for each other.
    _make(conn, database, sorted(failing))
    now = database.now(conn)
    noted = [
        Noted(before, observed(before, marks[place], now=now, jitter=jitter))
        for place, before in _found(conn, marks, locked=True).items()
    ]
    _write(conn, [each.after for each in noted if _worth_writing(each, now)])
    for each in noted:
        if _wider(each, now):
            strands.wake(conn, database, each.after.project, origin=each.after.origin)
    return noted


def find(conn: Connection, project: str, wanted: Collection[str]) -> dict[str, Breaker]:
    """The breakers of those origins that have one; any other origin is closed."""
    found = _found(conn, [(project, origin) for origin in wanted], locked=False)
    return {origin: breaker for (_, origin), breaker in found.items()}


def search(
    conn: Connection,
    project: str,
    *,
    states: Collection[BreakerState],
    origin: str | None,
    cursor: str | None,
    limit: int,
    now: datetime,
) -> Page[Breaker]:
    """The breakers of ``project`` that are in one of ``states`` at ``now``, by origin."""
    conditions = [origins.c.project == project, or_(*(_is(state, now) for state in states))]
    if origin is not None:
        conditions.append(origins.c.origin == origin)
    if cursor is not None:
        conditions.append(origins.c.origin > read_name(cursor, project))
    statement = select(origins).where(*conditions).order_by(origins.c.origin).limit(limit + 1)
    found = [_breaker(row) for row in conn.execute(statement)]
    return Page(found[:limit], write_name([breaker.origin for breaker in found], project, limit))


def reset(conn: Connection, database: Database, project: str, origin: str) -> Noted | None:
    """Close a breaker by hand; ``None`` if the origin has none. Calls under way count for nothing any more."""
    before = _found(conn, [(project, origin)], locked=True).get((project, origin))
    if before is None:
        return None
    after = closed(before, now=database.now(conn))
    _write(conn, [after])
    strands.wake(conn, database, project, origin=origin)
    return Noted(before, after)


def forget(conn: Connection, database: Database, *, limit: int, all_of_them: bool = False) -> int:
    """Drop up to ``limit`` breakers whose origins have been sound for long, or uncalled for longer; return how many.

    With ``all_of_them``, whatever their state, as where breakers are switched off.
    """
    now = database.now(conn)
    is_closed = origins.c.state == BreakerState.CLOSED.value
    old = or_(
        and_(is_closed, origins.c.window_at < now - _QUIET),
        and_(~is_closed, origins.c.changed_at < now - _ABANDONED),
    )
    # Skipping what others hold: this takes locks in no order that a report could count on.
    statement = select(origins).limit(limit).with_for_update(skip_locked=True)
    found = [_breaker(row) for row in conn.execute(statement if all_of_them else statement.where(old))]
    if found:
        conn.execute(_DELETE, [{"of_project": each.project, "of_origin": each.origin} for each in found])
    for each in found:
        if each.state is not BreakerState.CLOSED:
            strands.wake(conn, database, each.project, origin=each.origin)
    return len(found)


def _make(conn: Connection, database: Database, places: Sequence[Place]) -> None:
    if places:
        now = database.now(conn)
        conn.execute(_MAKE, [_columns(fresh(*place, now=now)) for place in places])


def _found(conn: Connection, places: Iterable[Place], *, locked: bool) -> dict[Place, Breaker]:
    """In the order of their keys, which is that of their locks."""
    of_project: defaultdict[str, list[str]] = defaultdict(list)
    for project, origin in sorted(places):
        of_project[project].append(origin)
    found: dict[Place, Breaker] = {}
    for project, names in of_project.items():
        for start in range(0, len(names), _TOGETHER):
            which = {"of_project": project, "names": names[start : start + _TOGETHER]}
            for row in conn.execute(_LOCK if locked else _THESE, which):
                found[project, row.origin] = _breaker(row)
    return found


def _write(conn: Connection, breakers: Sequence[Breaker]) -> None:
    if breakers:
        conn.execute(
            _UPDATE,
            [{"of_project": each.project, "of_origin": each.origin, **_state(each)} for each in breakers],
        )


def _worth_writing(noted: Noted, now: datetime) -> bool:
    """A closed breaker that no longer listens grows old instead, until ``forget`` finds it."""
    return noted.after != noted.before and (listens(noted.before, now) or listens(noted.after, now))


def _wider(noted: Noted, now: datetime) -> bool:
    before, after = room(noted.before, now), room(noted.after, now)
    return before is not None and (after is None or after > before)


def _is(state: BreakerState, now: datetime) -> ColumnElement[bool]:
    """``core.breaker.state_at`` as a condition."""
    stored = origins.c.state == BreakerState.OPEN.value
    still = and_(origins.c.open_until > now, origins.c.open_until <= now + LONGEST_SPAN + SKEW)
    match state:
        case BreakerState.OPEN:
            return and_(stored, still)
        case BreakerState.PROBING:
            return and_(stored, ~still)
    return origins.c.state == state.value


def _breaker(row: Any) -> Breaker:
    return Breaker(**{**row._mapping, "state": BreakerState(row.state)})


def _columns(breaker: Breaker) -> dict[str, Any]:
    return {**asdict(breaker), "state": breaker.state.value}


def _state(breaker: Breaker) -> dict[str, Any]:
    columns = _columns(breaker)
    del columns["project"], columns["origin"]
    return columns


_MINE = (origins.c.project == bindparam("of_project"), origins.c.origin == bindparam("of_origin"))
_THESE = (
    select(origins)
    .where(origins.c.project == bindparam("of_project"), origins.c.origin.in_(bindparam("names", expanding=True)))
    .order_by(origins.c.origin)
)
_LOCK = _THESE.with_for_update()
_NAMES = [column.name for column in origins.c]
_MAKE = text(
    f"insert into origins ({', '.join(_NAMES)})"  # noqa: S608 - names of the schema
    f" values ({', '.join(f':{name}' for name in _NAMES)}) on conflict do nothing"
).bindparams(*(bindparam(column.name, type_=column.type) for column in origins.c))
_UPDATE = update(origins).where(*_MINE)
_DELETE = delete(origins).where(*_MINE)
