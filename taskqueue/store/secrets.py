"""Signing secrets: what receivers verify deliveries with."""

from __future__ import annotations

import base64
import secrets
from uuid import UUID

from sqlalchemy import Connection, bindparam, select, text

from taskqueue.core.webhook import SECRET_PREFIX
from taskqueue.store.columns import Id, Instant
from taskqueue.store.database import Database
from taskqueue.store.schema import signing_secrets

_BYTES = 32
_FIRST = UUID(int=0)  # the same for all: of several processes that start at once, one makes it and the others find it


def current(conn: Connection, project: str) -> tuple[str, ...]:
    """The secrets that sign for ``project``, newest first."""
    return tuple(conn.execute(_CURRENT, {"of_project": project}).scalars())


def ensure(conn: Connection, database: Database, project: str) -> tuple[str, ...]:
    """The project's secrets; the first call ever makes one."""
    if found := current(conn, project):
        return found
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    conn.execute(_MAKE, {"project": project, "id": _FIRST, "secret": secret, "created_at": database.now(conn)})
    return current(conn, project)


_MAKE = text("""
    insert into signing_secrets (project, id, secret, created_at) values (:project, :id, :secret, :created_at)
    on conflict do nothing
""").bindparams(bindparam("id", type_=Id), bindparam("created_at", type_=Instant))
_CURRENT = (
    select(signing_secrets.c.secret)
    .where(signing_secrets.c.project == bindparam("of_project"))
    .order_by(signing_secrets.c.id.desc())
)
