"""Flow keys: the limits of whatever shares one. Where nobody named a key, it is the target's origin."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, select

from taskqueue.core.queue import FlowKey
from taskqueue.store import strands
from taskqueue.store.database import Database
from taskqueue.store.limits import NO_TOKENS, bounds_columns, bounds_of, put
from taskqueue.store.schema import LEASED, flow_keys, ready
from taskqueue.store.search import Page, read_name, write_name
from taskqueue.store.stats import strands_with


def find(conn: Connection, project: str, key: str) -> FlowKey | None:
    """The flow key; one that nobody defined has no limits of its own. ``None`` where no task lives with it, either."""
    asked = {"of_project": project, "of_name": key}
    row = conn.execute(_ONE, asked).one_or_none()
    if row is not None:
        return _flow_key(row)
    used = conn.execute(_RUNS, asked).scalar() or strands_with(conn, project, flow_key=key)
    return FlowKey(project=project, key=key) if used else None


def search(conn: Connection, project: str, *, cursor: str | None, limit: int) -> Page[FlowKey]:
    """The flow keys that are defined, by key. There may be as many others as there are hosts."""
    after = "" if cursor is None else read_name(cursor, project)
    rows = conn.execute(_PAGE, {"of_project": project, "after": after, "limit": limit + 1}).all()
    return Page([_flow_key(row) for row in rows[:limit]], write_name([row.key for row in rows], project, limit))


def define(conn: Connection, database: Database, flow_key: FlowKey) -> FlowKey:
    """Make the flow key what it says, whatever it was before; return it with its times."""
    now = database.now(conn)
    changed = {**bounds_columns(flow_keys, flow_key.bounds), "updated_at": now}
    put(conn, flow_keys, _key(flow_key), changed, first={**NO_TOKENS, "created_at": now})
    return _changed(conn, database, flow_key)


def set_paused(conn: Connection, database: Database, flow_key: FlowKey, *, paused: bool) -> FlowKey:
    """Start no attempt with the key from now on, or start them again; those that run are left alone."""
    now = database.now(conn)
    changed = {"paused": paused, "updated_at": now}
    put(conn, flow_keys, _key(flow_key), changed, first={"created_at": now})
    return _changed(conn, database, flow_key)


def remove(conn: Connection, database: Database, project: str, key: str) -> bool:
    """Forget what was said about a flow key. False if nothing was."""
    if not conn.execute(_DELETE, {"of_project": project, "of_name": key}).rowcount:
        return False
    strands.wake(conn, database, project, flow_key=key)
    return True


def _changed(conn: Connection, database: Database, flow_key: FlowKey) -> FlowKey:
    """The flow key as it is now. Whatever was changed, the claim looks: a limit may have been lifted."""
    strands.wake(conn, database, flow_key.project, flow_key=flow_key.key)
    return _flow_key(conn.execute(_ONE, {"of_project": flow_key.project, "of_name": flow_key.key}).one())


def _key(flow_key: FlowKey) -> dict[str, str]:
    return {"project": flow_key.project, "key": flow_key.key}


def _flow_key(row: Any) -> FlowKey:
    return FlowKey(
        project=row.project,
        key=row.key,
        bounds=bounds_of(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


_OF_PROJECT = flow_keys.c.project == bindparam("of_project")
_MINE = (_OF_PROJECT, flow_keys.c.key == bindparam("of_name"))
_ONE = select(flow_keys).where(*_MINE)
_DELETE = delete(flow_keys).where(*_MINE)
_PAGE = (
    select(flow_keys)
    .where(_OF_PROJECT, flow_keys.c.key > bindparam("after"))
    .order_by(flow_keys.c.key)
    .limit(bindparam("limit"))
)
_RUNS = select(
    exists(
        select(1).where(
            ready.c.project == bindparam("of_project"),
            LEASED,
            ready.c.flow_key == bindparam("of_name"),
        )
    )
)
