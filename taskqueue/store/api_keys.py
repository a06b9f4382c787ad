"""API keys: made and shown once, looked up at every door, revoked, rotated, and when each was used last."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update
from uuid_utils.compat import uuid7

from taskqueue.core.api_key import RANDOM_BYTES, SHOWN, ApiKey, ApiKeyId, NewApiKey, Scope, Standing, key_hash, key_text
from taskqueue.core.errors import Conflict
from taskqueue.store.access_tables import api_keys
from taskqueue.store.database import Database
from taskqueue.store.search import Page, read_cursor, write_cursor

USE_NOTED = timedelta(minutes=1)  # at most so often for one key, however many processes serve it
_NO_ID = UUID(int=2**128 - 1)  # above all


def create(
    conn: Connection,
    database: Database,
    project: str,
    *,
    name: str,
    scopes: frozenset[Scope],
    lifetime: timedelta | None = None,
) -> NewApiKey:
    """A new key for ``project``, which must exist. Its text is in the answer and nowhere else."""
    now = database.now(conn)
    return _insert(conn, project, name, scopes, now, now + lifetime if lifetime is not None else None)


def find(conn: Connection, text: str) -> ApiKey | None:
    """The key that ``text`` is, of whatever project, and though it may be revoked or expired."""
    mine = key_hash(text)
    found = None
    for row in conn.execute(_SHOWN, {"begins": text[:SHOWN]}):
        if hmac.compare_digest(row.hash, mine):
            found = _key(row)
    return found


def get(conn: Connection, project: str, id_: ApiKeyId) -> ApiKey | None:
    """The key with this id."""
    row = conn.execute(_ONE, {"of_project": project, "of_id": id_}).one_or_none()
    return _key(row) if row is not None else None


def search(conn: Connection, project: str, *, cursor: str | None, limit: int) -> Page[ApiKey]:
    """The keys of ``project``, newest first, those that are revoked or expired too."""
    before = _NO_ID if cursor is None else read_cursor(cursor, project)
    rows = conn.execute(_PAGE, {"of_project": project, "before": before, "limit": limit + 1}).all()
    return Page([_key(row) for row in rows[:limit]], write_cursor(project, [row.id for row in rows], limit))


def revoke(conn: Connection, database: Database, project: str, id_: ApiKeyId) -> ApiKey | None:
    """Make the key open nothing from now on, if it is not so already; ``None`` for one that is not there."""
    conn.execute(_REVOKE, {"of_project": project, "of_id": id_, "now": database.now(conn)})
    return get(conn, project, id_)


def rotate(
    conn: Connection, database: Database, project: str, id_: ApiKeyId, *, overlap: timedelta
) -> NewApiKey | None:
    """Another key for the same, which lives as long as this one was to; this one ends after ``overlap``, if not before.

    ``None`` for one that is not there, ``Conflict`` for one that opens nothing any more or was rotated before.
    """
    old = get(conn, project, id_)
    if old is None:
        return None
    now = database.now(conn)
    _check_rotation(old, now)
    new = _insert(
        conn, project, old.name, old.scopes, now, now + (old.expires_at - old.created_at) if old.expires_at else None
    )
    ends = min(old.expires_at or now + overlap, now + overlap)
    row = {"of_project": project, "of_id": id_, "ends": ends, "new_id": new.key.id}
    replaced = conn.execute(_REPLACE, row).rowcount
    if not replaced:  # somebody else was faster; what was inserted goes with the transaction
        raise Conflict("the key was revoked or rotated at this moment; look at it again")
    return new


def count_active(conn: Connection, *, now: datetime) -> int:
    """How many keys of all projects open something."""
    return conn.execute(_ACTIVE, {"now": now}).scalar() or 0


def note_uses(conn: Connection, database: Database, used: Iterable[tuple[str, ApiKeyId]]) -> None:
    """Write down that these keys, each a project and an id, were used just now."""
    now = database.now(conn)
    rows = [
        {"of_project": project, "of_id": id_, "now": now, "before": now - USE_NOTED} for project, id_ in sorted(used)
    ]
    if rows:
        conn.execute(_USED, rows)


def _check_rotation(old: ApiKey, now: datetime) -> None:
    if (standing := old.standing(now)) is not Standing.ACTIVE:
        raise Conflict(f"the key is {standing}; make a new one")
    if old.replaced_by is not None:
        raise Conflict(f"the key was rotated before; rotate {old.replaced_by}, which took its place")


def _insert(
    conn: Connection, project: str, name: str, scopes: frozenset[Scope], now: datetime, expires_at: datetime | None
) -> NewApiKey:
    text = key_text(secrets.token_bytes(RANDOM_BYTES))
    key = ApiKey(
        id=ApiKeyId(uuid7()),
        project=project,
        name=name,
        scopes=scopes,
        shown=text[:SHOWN],
        created_at=now,
        expires_at=expires_at,
    )
    row = {
        "id": key.id,
        "project": project,
        "name": name,
        "scopes": ",".join(scope for scope in Scope if scope in scopes),
        "shown": key.shown,
        "hash": key_hash(text),
        "created_at": now,
        "expires_at": expires_at,
    }
    conn.execute(insert(api_keys), row)
    return NewApiKey(key, text)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(row.id),
        project=row.project,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes.split(","))),
        shown=row.shown,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        replaced_by=ApiKeyId(row.replaced_by) if row.replaced_by is not None else None,
    )


_OF_PROJECT = api_keys.c.project == bindparam("of_project")
_MINE = (_OF_PROJECT, api_keys.c.id == bindparam("of_id"))
_SHOWN = select(api_keys).where(api_keys.c.shown == bindparam("begins"))
_ONE = select(api_keys).where(*_MINE)
_PAGE = (
    select(api_keys)
    .where(_OF_PROJECT, api_keys.c.id < bindparam("before"))
    .order_by(api_keys.c.id.desc())
    .limit(bindparam("limit"))
)
_REVOKE = update(api_keys).where(*_MINE, api_keys.c.revoked_at.is_(None)).values(revoked_at=bindparam("now"))
_REPLACE = (
    update(api_keys)
    .where(*_MINE, api_keys.c.revoked_at.is_(None), api_keys.c.replaced_by.is_(None))
    .values(expires_at=bindparam("ends"), replaced_by=bindparam("new_id"))
)
_ACTIVE = (
    select(func.count())
    .select_from(api_keys)
    .where(
        api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("now"))
    )
)
_USED = (
    update(api_keys)
    .where(*_MINE, or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= bindparam("before")))
    .values(last_used_at=bindparam("now"))
)
