"""Hosts that are down, and crowds that wait for them: a claim of anything else does not feel them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert

from taskqueue.core.breaker import BreakerState
from taskqueue.store import origins
from taskqueue.store.database import Database
from taskqueue.store.queue_tables import origins as origins_table
from tests.store.effort import of_twenty
from tests.store.limits import claim, fill, ids, to_host
from tests.store.lines import line_up
from tests.support.builders import answer, settle_one
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
    of_twenty(database)  # strands that are new cost more
    usual = of_twenty(database)
    line_up(database, strands=DEAD, each=EACH, whole=1)
    stop(database, "https://target.example:443")
    # The servers' statistics still say that there are a few rows: whatever is planned must not walk over them.
    first, second = of_twenty(database), of_twenty(database)
    assert max(first, second) <= 2 * usual + 20 * DEAD
