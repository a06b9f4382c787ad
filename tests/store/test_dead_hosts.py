"""Hosts that are down, and crowds that wait for them: a claim of anything else does not feel them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from taskqueue.core.breaker import BreakerState
from taskqueue.store import origins
from taskqueue.store.claim import Wanted, take
from taskqueue.store.database import Database
from taskqueue.store.queue_tables import origins as origins_table
from tests.store.limits import claim, fill, ids, to_host
from tests.store.lines import line_up
from tests.store.steps import settle_all
from tests.support.builders import LEASE, answer, settle_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("attended")
DEAD, EACH = 10, 5_000
MINUTE = timedelta(minutes=1)


def host(number: int) -> dict[str, str]:
    return to_host(f"dead{number}.example")


def stop(database: Database, origin: str, *, span: timedelta = MINUTE, state: BreakerState = BreakerState.OPEN) -> None:
    """Have the breaker of ``origin`` in this state, as if its calls had failed."""
    with database.begin() as conn:
        now = database.now(conn)
        row = {
            "project": "default",
            "origin": origin,
            "state": state.value,
            "changed_at": now,
            "open_until": now + span if state is BreakerState.OPEN else None,
            "trips": 1,
            "window_at": now,
            "failures": 0,
            "calls": 0,
            "former_failures": 0,
            "former_calls": 0,
        }
        conn.execute(insert(origins_table), row)


def test_nothing_of_a_host_that_is_down_starts_before_its_breaker_lets_a_probe_through(
    database: Database, clock: Clock
) -> None:
    fill(database, 5, **host(0))
    stop(database, host(0)["origin"])
    stopped = claim(database)
    assert stopped.tasks == []
    assert stopped.next_due is not None
    assert timedelta(seconds=55) < stopped.next_due <= MINUTE
    clock.advance(minutes=1, seconds=1)
    (probe,) = claim(database).tasks
    assert claim(database).tasks == []
    assert probe.progress.number == 1


def test_a_breaker_counts_probes_of_all_strands_of_its_origin_together(database: Database, clock: Clock) -> None:
    for priority in range(10):
        fill(database, 3, priority=priority, flow_key=f"key {priority}", **host(0))
    stop(database, host(0)["origin"], span=timedelta(seconds=1))
    clock.advance(seconds=2)
    assert len(claim(database).tasks) == 1
    assert claim(database).tasks == []


def test_a_probe_that_ended_lets_the_next_one_start_at_once(database: Database, clock: Clock) -> None:
    fill(database, 5, **host(0))
    stop(database, host(0)["origin"], span=timedelta(seconds=1))
    clock.advance(seconds=2)
    (probe,) = claim(database).tasks
    assert claim(database).tasks == []
    settle_one(database, probe, answer(200))
    assert len(claim(database).tasks) == 1


def test_a_breaker_that_is_closed_by_hand_lets_all_start_at_once(database: Database) -> None:
    fill(database, 5, **host(0))
    stop(database, host(0)["origin"])
    assert claim(database).tasks == []
    with database.begin() as conn:
        origins.reset(conn, database, "default", host(0)["origin"])
    assert len(claim(database).tasks) == 5


def test_the_same_origin_of_another_project_is_another_host(database: Database) -> None:
    fill(database, 1, **host(0))
    (other_one,) = fill(database, 1, project="other", **host(0))
    stop(database, host(0)["origin"])
    assert ids(claim(database).tasks) == [other_one.id]


def test_ten_dead_hosts_with_crowds_in_front_cost_a_claim_of_others_nothing(database: Database) -> None:
    effort_of_twenty(database)  # strands that are new cost more
    usual = effort_of_twenty(database)
    line_up(database, strands=DEAD, each=EACH, whole=1)
    stop(database, "https://target.example:443")
    # The servers' statistics still say that there are a few rows: whatever is planned must not walk over them.
    first, second = effort_of_twenty(database), effort_of_twenty(database)
    assert first <= 2 * usual + 20 * DEAD
    assert second <= 1.5 * usual + DEAD


def test_figures_that_know_only_what_has_expired_mislead_no_claim(database: Database, clock: Clock) -> None:
    fill(database, 800, expires_in=timedelta(minutes=1))
    with database.begin() as conn:
        conn.exec_driver_sql("analyze ready")
    clock.advance(hours=2)
    effort_of_twenty(database)
    usual = effort_of_twenty(database)
    line_up(database, strands=DEAD, each=EACH, whole=1)
    stop(database, "https://target.example:443")
    first, second = effort_of_twenty(database), effort_of_twenty(database)
    assert max(first, second) <= 2 * usual + 20 * DEAD + 10 * 800 + 200  # and of the expired, each may be met once


def effort_of_twenty(database: Database) -> int:
    """What it costs to claim a task of each of twenty sound hosts, while others wait."""
    wanted = [task for number in range(20) for task in fill(database, 1, **to_host(f"sound{number}.example"))]
    with effort(database) as cost:
        taken = take(cost.conn, database, Wanted("worker-1", 100, LEASE))
    assert sorted(ids(taken.tasks)) == sorted(ids(wanted))
    settle_all(database, taken.tasks, 200)
    return cost.count


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


_FETCHED = text("""
    select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) from pg_stat_xact_user_tables
     where relname in ('ready', 'strands', 'wakes', 'tasks', 'origins')
""")
