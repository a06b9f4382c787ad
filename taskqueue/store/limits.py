"""Bounds in rows: queues and flow keys keep them in the same columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Table, and_, case, insert, null, update
from sqlalchemy.exc import IntegrityError

from taskqueue.core.errors import StoreUnavailable
from taskqueue.core.queue import Bounds, Rate

_TRIES = 5
NO_TOKENS = {"tokens": None, "tokens_at": None}  # nothing was drawn yet


def bounds_of(row: Any) -> Bounds:
    """The bounds in a row."""
    rate = None
    if row.rate_limit is not None:
        rate = Rate(row.rate_limit, timedelta(seconds=row.rate_period), row.rate_burst)
    return Bounds(concurrency=row.concurrency, rate=rate, paused=row.paused)


def bounds_columns(table: Table, bounds: Bounds) -> dict[str, Any]:
    """What to set in a row so that it has these bounds.

    What is left of a rate stays while the rate does: defining it again must not let anybody start more.
    """
    rate = bounds.rate
    of_rate = {
        "rate_limit": rate.limit if rate else None,
        "rate_period": rate.period.total_seconds() if rate else None,
        "rate_burst": rate.burst if rate else None,
    }
    same = and_(*(table.c[name].is_not_distinct_from(value) for name, value in of_rate.items()))
    tokens = {name: case((same, table.c[name]), else_=null()) for name in NO_TOKENS}
    return {"paused": bounds.paused, "concurrency": bounds.concurrency, **of_rate, **tokens}


def put(
    conn: Connection, table: Table, key: Mapping[str, str], changed: Mapping[str, Any], *, first: Mapping[str, Any]
) -> None:
    """Set ``changed`` in the row that ``key`` names; if there is none, insert it with ``first`` over that."""
    mine = and_(*(table.c[name] == value for name, value in key.items()))
    for _ in range(_TRIES):
        if conn.execute(update(table).where(mine).values(changed)).rowcount:
            return
        try:
            with conn.begin_nested():
                conn.execute(insert(table).values({**changed, **first, **key}))
                return
        except IntegrityError:
            continue  # somebody inserted it since we looked
    raise StoreUnavailable("the row came and went again and again while it was written", rolled_back=True)
