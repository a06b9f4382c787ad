"""What a transaction costs its database, counted: time would tell nothing on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from taskqueue.store.claim import Wanted, take
from taskqueue.store.database import Database
from tests.store.limits import fill, ids, to_host
from tests.store.steps import settle_all
from tests.support.builders import LEASE


@dataclass
class Effort:
    """Rows that PostgreSQL fetched, or hundreds of steps that SQLite took."""

    conn: Connection
    count: int = 0


@contextmanager
def effort(database: Database) -> Iterator[Effort]:
    """A transaction, and what has been done in it at its end."""
    with database.begin() as conn:
        cost = Effort(conn)
        raw: Any = conn.connection.driver_connection
        if database.dialect_name == "sqlite":
            raw.set_progress_handler(lambda: _step(cost), 100)
            yield cost
            raw.set_progress_handler(None, 0)
        else:
            before = conn.execute(_FETCHED).scalar_one()  # of transactions that the server has not summed up yet
            yield cost
            cost.count = int(conn.execute(_FETCHED).scalar_one() - before)


def _step(cost: Effort) -> int:
    cost.count += 1
    return 0


def of_twenty(database: Database) -> int:
    """What it costs to claim a task of each of twenty sound hosts, while others wait."""
    wanted = [task for number in range(20) for task in fill(database, 1, **to_host(f"sound{number}.example"))]
    with effort(database) as cost:
        taken = take(cost.conn, database, Wanted("worker-1", 100, LEASE))
    assert sorted(ids(taken.tasks)) == sorted(ids(wanted))
    settle_all(database, taken.tasks, 200)
    return cost.count


_FETCHED = text("""
    select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) from pg_stat_xact_user_tables
     where relname in ('ready', 'strands', 'wakes', 'tasks', 'origins')
""")
