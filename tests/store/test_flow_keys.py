"""Flow keys: the same limits in every queue, and known only where something lives or is said."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.queue import Bounds, FlowKey, Rate
from taskqueue.store import flow_keys
from taskqueue.store.database import Database
from tests.store.pages import every_page
from tests.support.builders import claim_all, submit_one
from tests.support.clock import Clock

ORIGIN = "https://target.example:443"
BOUNDS = Bounds(concurrency=4, rate=Rate(10, timedelta(seconds=2)), paused=True)


def find(database: Database, key: str = ORIGIN, *, project: str = "default") -> FlowKey | None:
    with database.read() as conn:
        return flow_keys.find(conn, project, key)


def define(database: Database, key: str = ORIGIN, *, project: str = "default", bounds: Bounds = BOUNDS) -> FlowKey:
    with database.begin() as conn:
        return flow_keys.define(conn, database, FlowKey(project=project, key=key, bounds=bounds))


def listed(database: Database, *, limit: int) -> list[str]:
    with database.read() as conn:
        pages = every_page(lambda cursor: flow_keys.search(conn, "default", cursor=cursor, limit=limit))
    return [flow_key.key for page in pages for flow_key in page]


def test_what_was_said_about_a_flow_key_is_kept(database: Database, clock: Clock) -> None:
    first = define(database)
    assert first == find(database)
    assert first.bounds == BOUNDS
    clock.advance(minutes=1)
    again = define(database, bounds=Bounds())
    assert (again.bounds, again.created_at) == (Bounds(), first.created_at)


def test_a_flow_key_that_nobody_defined_is_there_while_a_task_lives_with_it(database: Database) -> None:
    assert find(database) is None
    submit_one(database)
    submit_one(database, flow_key="smtp")
    for key in (ORIGIN, "smtp"):
        assert find(database, key) == FlowKey(project="default", key=key)
    assert find(database, project="other") is None
    claim_all(database)
    assert find(database) == FlowKey(project="default", key=ORIGIN)


@pytest.mark.parametrize("defined", [True, False])
def test_a_flow_key_can_be_paused_whether_it_is_defined_or_not(database: Database, defined: bool) -> None:
    bounds = Bounds(concurrency=4) if defined else Bounds()
    flow_key = define(database, bounds=bounds) if defined else FlowKey(project="default", key=ORIGIN)
    with database.begin() as conn:
        paused = flow_keys.set_paused(conn, database, flow_key, paused=True)
    assert paused.bounds == Bounds(concurrency=bounds.concurrency, paused=True)
    with database.begin() as conn:
        assert flow_keys.set_paused(conn, database, paused, paused=False).bounds == bounds


def test_a_flow_key_that_is_forgotten_is_not_there_any_more(database: Database) -> None:
    define(database)
    with database.begin() as conn:
        assert flow_keys.remove(conn, database, "default", ORIGIN) is True
        assert flow_keys.remove(conn, database, "default", ORIGIN) is False
    assert find(database) is None


def test_flow_keys_are_listed_by_key(database: Database) -> None:
    keys = ["http://a.example:80", "https://a.example:443", "smtp"]
    for key in reversed(keys):
        define(database, key)
    define(database, "other", project="other")
    for limit in (1, 2, 3, 50):
        assert listed(database, limit=limit) == keys
