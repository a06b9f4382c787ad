"""Signing secrets: what receivers verify deliveries with."""

from __future__ import annotations

import base64
import secrets

from sqlalchemy import Connection, bindparam, insert, select
from uuid_utils.compat import uuid7

from taskqueue.core.webhook import SECRET_PREFIX
from taskqueue.store.database import Database
from taskqueue.store.schema import signing_secrets

_BYTES = 32


def current(conn: Connection, project: str) -> tuple[str, ...]:
    """The secrets that sign for ``project``, newest first."""
    return tuple(conn.execute(_CURRENT, {"of_project": project}).scalars())


def ensure(conn: Connection, database: Database, project: str) -> tuple[str, ...]:
    """The project's secrets; the first call ever makes one."""
    if found := current(conn, project):
        return found
    # Several processes may start at once; all of them then sign with each secret that was made, and agree.
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    row = {"project": project, "id": uuid7(), "secret": secret, "created_at": database.now(conn)}
    conn.execute(insert(signing_secrets), row)
    return current(conn, project)


_CURRENT = (
    select(signing_secrets.c.secret)
    .where(signing_secrets.c.project == bindparam("of_project"))
    .order_by(signing_secrets.c.id.desc())
)
