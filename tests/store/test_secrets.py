"""Signing secrets: one per project from its first use on, and the same for every process."""

from __future__ import annotations

from functools import partial

from standardwebhooks import Webhook

from taskqueue.core.webhook import secret_key
from taskqueue.store import secrets
from taskqueue.store.database import Database
from tests.store.threads import at_once, results


def ensure(database: Database, project: str = "default") -> tuple[str, ...]:
    with database.begin() as conn:
        return secrets.ensure(conn, database, project)


def current(database: Database, project: str = "default") -> tuple[str, ...]:
    with database.read() as conn:
        return secrets.current(conn, project)


def test_a_project_has_no_secret_before_its_first_use(database: Database) -> None:
    assert current(database) == ()


def test_the_first_use_makes_one_and_later_ones_find_it(database: Database, other: Database) -> None:
    made = ensure(database)
    assert len(made) == 1
    assert ensure(database) == ensure(other) == current(other) == made


def test_a_secret_is_long_and_in_the_form_that_libraries_take(database: Database) -> None:
    (secret,) = ensure(database)
    assert len(secret_key(secret)) == 32
    assert Webhook(secret) is not None


def test_each_project_signs_with_its_own(database: Database) -> None:
    assert ensure(database, "a") != ensure(database, "b")
    assert current(database) == ()


def test_processes_that_start_at_once_agree_on_one_secret(database: Database, other: Database) -> None:
    made = results(at_once([partial(ensure, store) for store in (database, other) * 4]))
    assert set(made) == {current(database)}
    assert len(current(database)) == 1
