"""The figures PostgreSQL plans by are old: no statement may come to depend on them for long."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from taskqueue.store.database import Database
from tests.store import effort
from tests.store.limits import claim, fill, to_host
from tests.store.lines import line_up
from tests.store.steps import settle_all
from tests.store.test_dead_hosts import DEAD, EACH, stop
from tests.support.clock import Clock
from tests.worker.running import until

pytestmark = pytest.mark.usefixtures("attended")


def count_rows(database: Database) -> None:
    """As the server does for itself, sooner or later."""
    with database.begin() as conn:
        conn.exec_driver_sql("analyze")


def test_figures_that_know_only_what_has_expired_mislead_no_claim(database: Database, clock: Clock) -> None:
    fill(database, 800, expires_in=timedelta(minutes=1))
    count_rows(database)
    clock.advance(hours=2)
    effort.of_twenty(database)
    usual = effort.of_twenty(database)
    line_up(database, strands=DEAD, each=EACH, whole=1)
    stop(database, "https://target.example:443")
    first, second = effort.of_twenty(database), effort.of_twenty(database)
    assert max(first, second) <= 2 * usual + 20 * DEAD + 10 * 800 + 200  # and of the expired, each may be met once


@pytest.mark.parametrize("moment", ["before plans were kept", "nothing is left", "one waits", "one runs"])
def test_figures_of_an_idle_hour_mislead_no_claim_in_the_crowd_after_it(database: Database, moment: str) -> None:
    effort.of_twenty(database)
    if moment == "before plans were kept":
        count_rows(database)
    usual = effort.of_twenty(database)
    if moment.startswith("one"):
        fill(database, 1, **to_host("idle.example"))
        taken = claim(database).tasks if moment == "one runs" else []
        count_rows(database)
        settle_all(database, taken or claim(database).tasks, 200)
    elif moment == "nothing is left":
        count_rows(database)
    line_up(database, strands=DEAD, each=EACH, whole=1)
    stop(database, "https://target.example:443")
    first, second = effort.of_twenty(database), effort.of_twenty(database)
    assert max(first, second) <= 2 * usual + 20 * DEAD


def test_a_table_that_has_grown_is_counted_once(database: Database) -> None:
    count_rows(database)
    fill(database, 1500)

    def outgrown() -> list[str]:
        time.sleep(0.05)  # the server learns of changes a second after they were made
        with database.begin() as conn:
            return sorted(database.dialect.recount(conn))

    if database.dialect_name == "sqlite":
        assert outgrown() == []
        return
    found: list[str] = []
    until(lambda: bool(found.extend(outgrown()) or {"ready", "tasks"} <= set(found)))
    assert outgrown() == []
    with database.read() as conn:
        known = conn.exec_driver_sql("select reltuples from pg_class where oid = 'ready'::regclass").scalar()
    assert known == 1500
