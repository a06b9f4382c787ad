"""The database, for commands that go to it themselves and not through the API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from taskqueue.config import Settings
from taskqueue.store.database import Database


@contextmanager
def opened() -> Iterator[Database]:
    """The database that TASKQUEUE_DATABASE_URL names, if this version can work with it."""
    database = Database.open(Settings.from_env(os.environ).database_url)
    try:
        database.check(allow_unsafe=True)
        yield database
    finally:
        database.close()
