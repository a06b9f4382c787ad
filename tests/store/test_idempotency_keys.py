"""Which idempotency keys are in use: those of one's own project, for as long as they are kept."""

from __future__ import annotations

from datetime import timedelta

from taskqueue.store import idempotency_keys
from taskqueue.store.database import Database
from taskqueue.store.submissions import IdempotencyKey
from tests.support.builders import new_task, submit
from tests.support.clock import Clock


def known(database: Database, *keys: str, project: str = "default") -> set[str]:
    with database.read() as conn:
        return idempotency_keys.known(conn, database, project, keys)


def test_a_key_is_known_while_it_is_kept_and_in_its_project(database: Database, clock: Clock) -> None:
    for name, hours in (("short", 1), ("long", 3)):
        submit(database, new_task(), key=IdempotencyKey("default", name, b"x", timedelta(hours=hours)))
    assert known(database, "short", "long", "other") == {"short", "long"}
    assert known(database, "short", project="theirs") == set()
    clock.advance(hours=2)
    assert known(database, "short", "long") == {"long"}
    assert known(database) == set()
