"""Idempotency keys: which of them stand for tasks that were accepted before."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, select

from taskqueue.store.database import Database
from taskqueue.store.schema import idempotency_keys


def known(conn: Connection, database: Database, project: str, keys: Collection[str]) -> set[str]:
    """Those of ``keys`` that were used in ``project`` and are still kept, whatever body they came with."""
    asked = {"of_project": project, "keys": sorted(keys), "now": database.now(conn)}
    return set(conn.execute(_KNOWN, asked).scalars())


_KNOWN = select(idempotency_keys.c.key).where(
    idempotency_keys.c.project == bindparam("of_project"),
    idempotency_keys.c.key.in_(bindparam("keys", expanding=True)),
    idempotency_keys.c.expires_at > bindparam("now"),
)
