"""Queues: what somebody said about them. Any other has no limits, no defaults, and is there once a task names it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, select, union

from taskqueue.core.queue import OnDeath, Queue
from taskqueue.core.task import DEFAULT_QUEUE, WEBHOOK_QUEUE
from taskqueue.store import strands
from taskqueue.store.database import Database
from taskqueue.store.limits import NO_TOKENS, bounds_columns, bounds_of, put
from taskqueue.store.schema import queues, tasks
from taskqueue.store.search import Page, read_name, write_name


def find(conn: Connection, project: str, name: str) -> Queue | None:
    """The queue; one that nobody defined has no limits. ``None`` for a name that no task on record has, either."""
    key = {"of_project": project, "of_name": name}
    row = conn.execute(_ONE, key).one_or_none()
    if row is not None:
        return _queue(row)
    known = name == DEFAULT_QUEUE or conn.execute(_IN_USE, key).scalar()
    return Queue(project=project, name=name) if known else None


def defaults(conn: Connection, project: str, name: str) -> bytes | None:
    """What a submit to the queue is given for the fields that it leaves out; ``None`` for nothing."""
    return conn.execute(_DEFAULTS, {"of_project": project, "of_name": name}).scalar()


def with_defaults(conn: Connection, project: str) -> dict[str, datetime]:
    """When each queue that has defaults was changed last, by name."""
    return {row.name: row.updated_at for row in conn.execute(_WITH_DEFAULTS, {"of_project": project})}


def search(conn: Connection, project: str, *, cursor: str | None, limit: int) -> Page[Queue]:
    """The queues that are defined or that a task on record names, by name."""
    after = "" if cursor is None else read_name(cursor, project)
    asked = {"of_project": project, "after": after, "limit": limit + 1}
    names = conn.execute(_NAMES, asked).scalars().all()
    rows = conn.execute(_THESE, {"of_project": project, "names": list(names)})
    found = {row.name: _queue(row) for row in rows}
    items = [found.get(name) or Queue(project=project, name=name) for name in names[:limit]]
    return Page(items, write_name(names, project, limit))


def define(conn: Connection, database: Database, queue: Queue) -> Queue:
    """Make the queue what it says, whatever it was before; return it with its times."""
    now = database.now(conn)
    changed = {
        **bounds_columns(queues, queue.bounds),
        "on_death": queue.on_death.value,
        "defaults": queue.defaults,
        "updated_at": now,
    }
    put(conn, queues, _key(queue), changed, first={**NO_TOKENS, "created_at": now})
    return _changed(conn, database, queue)


def set_paused(conn: Connection, database: Database, queue: Queue, *, paused: bool) -> Queue:
    """Start no attempt of the queue from now on, or start them again; those that run are left alone."""
    now = database.now(conn)
    first = {"on_death": queue.on_death.value, "created_at": now}
    put(conn, queues, _key(queue), {"paused": paused, "updated_at": now}, first=first)
    return _changed(conn, database, queue)


def remove(conn: Connection, database: Database, project: str, name: str) -> bool:
    """Forget what was said about a queue; its tasks go on without limits. False if nothing was."""
    if not conn.execute(_DELETE, {"of_project": project, "of_name": name}).rowcount:
        return False
    strands.wake(conn, database, project, queue=name)
    return True


def _changed(conn: Connection, database: Database, queue: Queue) -> Queue:
    """The queue as it is now. Whatever was changed, the claim looks: a limit may have been lifted."""
    strands.wake(conn, database, queue.project, queue=queue.name)
    return _queue(conn.execute(_ONE, {"of_project": queue.project, "of_name": queue.name}).one())


def _key(queue: Queue) -> dict[str, str]:
    return {"project": queue.project, "name": queue.name}


def _queue(row: Any) -> Queue:
    return Queue(
        project=row.project,
        name=row.name,
        bounds=bounds_of(row),
        on_death=OnDeath(row.on_death),
        defaults=row.defaults,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


_MINE = (queues.c.project == bindparam("of_project"), queues.c.name == bindparam("of_name"))
_ONE = select(queues).where(*_MINE)
_DEFAULTS = select(queues.c.defaults).where(*_MINE)
_WITH_DEFAULTS = select(queues.c.name, queues.c.updated_at).where(
    queues.c.project == bindparam("of_project"), queues.c.defaults.is_not(None)
)
_DELETE = delete(queues).where(*_MINE)
_THESE = select(queues).where(
    queues.c.project == bindparam("of_project"), queues.c.name.in_(bindparam("names", expanding=True))
)
_OF_PROJECT = tasks.c.project == bindparam("of_project")
_IN_USE = select(exists(select(1).where(_OF_PROJECT, tasks.c.queue == bindparam("of_name"))))
# The names that tasks have, found by leaping from each to the next in the index: a million tasks may have three.
_FIRST = select(func.min(tasks.c.queue).label("name")).where(_OF_PROJECT, tasks.c.queue > bindparam("after"))
_LEAPS = _FIRST.cte("leaps", recursive=True)
_NEXT = select(func.min(tasks.c.queue)).where(_OF_PROJECT, tasks.c.queue > _LEAPS.c.name).scalar_subquery()
_LEAPS = _LEAPS.union_all(select(_NEXT).where(_LEAPS.c.name.is_not(None)))
_NAMED = union(
    select(_LEAPS.c.name).where(_LEAPS.c.name != WEBHOOK_QUEUE),  # not NULL, which ends the leaps
    select(queues.c.name).where(queues.c.project == bindparam("of_project"), queues.c.name > bindparam("after")),
).subquery()
_NAMES = select(_NAMED.c.name).order_by(_NAMED.c.name).limit(bindparam("limit"))
