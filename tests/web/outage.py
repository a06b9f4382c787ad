"""A database that cannot commit for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def stuck(database_url: str) -> Iterator[None]:
    """Hold, from outside, what every commit needs."""
    if database_url.startswith("sqlite:///"):
        raw = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        raw.execute("begin immediate")
        try:
            yield
        finally:
            raw.close()
        return
    with psycopg.connect(database_url) as conn:
        conn.execute("lock table tasks, ready, dead_letters, operations in access exclusive mode")
        yield
        conn.rollback()
