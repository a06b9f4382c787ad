"""Breakers as every worker sees them: counted in one place, opened, probed, closed, and forgotten in the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import pytest

from taskqueue.core.breaker import FAILURES, FIRST_SPAN, WIDE, Breaker, BreakerState, Mark, state_at
from taskqueue.core.errors import InvalidTask
from taskqueue.store import origins
from taskqueue.store.database import Database
from taskqueue.store.origins import Noted
from tests.store.overhear import overheard
from tests.store.pages import every_page
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, settle_one, submit_one
from tests.support.clock import Clock

HOST = "https://target.example:443"  # of ``new_task``
ALL = tuple(BreakerState)


def report(
    database: Database, *names: str, failures: int = 0, sound: int = 0, project: str = "default", age: float = 0
) -> list[Noted]:
    """As many calls on each origin, all started ``age`` seconds ago, without jitter."""
    with database.begin() as conn:
        started_at = database.now(conn) - timedelta(seconds=age)
        marks = [Mark(started_at, True)] * failures + [Mark(started_at, False)] * sound
        return origins.report(conn, database, {(project, name): marks for name in names}, jitter=0)


def breaker(database: Database, name: str = HOST, *, project: str = "default") -> Breaker | None:
    with database.read() as conn:
        return origins.find(conn, project, [name]).get(name)


def state(database: Database, name: str = HOST) -> BreakerState | None:
    """As it counts now; ``None`` without a row."""
    with database.read() as conn:
        now: datetime = database.now(conn)
    found = breaker(database, name)
    return found and state_at(found, now)


def listed(database: Database, *, states: Sequence[BreakerState] = ALL, origin: str | None = None) -> list[str]:
    with database.read() as conn:
        now = database.now(conn)
        page = origins.search(conn, "default", states=states, origin=origin, cursor=None, limit=50, now=now)
    return [each.origin for each in page.items]


def open_one(database: Database, *names: str) -> None:
    report(database, *(names or (HOST,)), failures=FAILURES)


def probe(database: Database, clock: Clock, *names: str) -> None:
    """A sound call once the breakers are no longer open."""
    clock.advance(seconds=FIRST_SPAN.total_seconds())
    report(database, *(names or (HOST,)), sound=1)


# Counting.


def test_of_a_sound_origin_nothing_is_written_down(database: Database) -> None:
    with overheard() as said:
        assert report(database, HOST, sound=1000) == []
    assert [each.words for each in said if not each.words.lstrip().lower().startswith("select")] == []
    assert breaker(database) is None


def test_the_failures_of_all_workers_count_together(database: Database, other: Database) -> None:
    report(database, HOST, failures=FAILURES - 1)
    assert state(other) is BreakerState.CLOSED
    (noted,) = report(other, HOST, failures=1)
    assert (noted.before.state, noted.after.state) == (BreakerState.CLOSED, BreakerState.OPEN)
    assert breaker(database) == noted.after


def test_signs_of_life_count_once_there_are_failures(database: Database) -> None:
    report(database, HOST, failures=1)
    report(database, HOST, sound=FAILURES + 1)
    report(database, HOST, failures=FAILURES - 1)
    assert state(database) is BreakerState.CLOSED


def test_each_project_has_breakers_of_its_own(database: Database) -> None:
    open_one(database)
    assert breaker(database, project="other") is None
    report(database, HOST, failures=1, project="other")
    assert state(database) is BreakerState.OPEN


def test_reports_at_the_same_time_lose_no_failure_and_do_not_wait_for_each_other_crosswise(
    database: Database, other: Database
) -> None:
    names = [f"https://host-{number}.example:443" for number in range(6)]
    calls = [
        partial(report, store, *line, failures=1)
        for store, line in ((database, names), (other, names[::-1]))
        for _ in range(4)
    ]
    results(at_once(calls))
    found = [breaker(database, name) for name in names]
    assert [each and each.failures for each in found] == [8] * len(names)


def test_only_breakers_that_listen_are_heeded(database: Database, clock: Clock) -> None:
    report(database, HOST, failures=1)
    with database.read() as conn:
        assert origins.heeded(conn, database, [("default", HOST), ("default", "https://b:443")]).keys() == {
            ("default", HOST)
        }
        assert origins.heeded(conn, database, [("other", HOST)]) == {}
    clock.advance(minutes=5)
    with database.read() as conn:
        assert origins.heeded(conn, database, [("default", HOST)]) == {}


def test_a_sound_origin_with_old_failures_is_not_written_any_more(database: Database, clock: Clock) -> None:
    report(database, HOST, failures=1)
    before = breaker(database)
    clock.advance(minutes=5)
    report(database, HOST, sound=5)
    assert breaker(database) == before


# The road of a breaker.


def test_a_breaker_opens_is_probed_and_closes(database: Database, clock: Clock) -> None:
    open_one(database)
    assert state(database) is BreakerState.OPEN
    clock.advance(seconds=FIRST_SPAN.total_seconds())
    assert state(database) is BreakerState.PROBING
    report(database, HOST, sound=1)
    assert state(database) is BreakerState.SLOW
    clock.advance(seconds=6)
    report(database, HOST, sound=WIDE)
    assert state(database) is BreakerState.CLOSED


def test_the_last_of_a_burst_does_not_open_it_for_longer(database: Database, clock: Clock) -> None:
    open_one(database)
    opened = breaker(database)
    clock.advance(seconds=20)
    report(database, HOST, failures=90, age=30)
    assert breaker(database) == opened


def test_the_claim_leaves_the_tasks_of_an_open_origin_alone(database: Database, clock: Clock) -> None:
    for _ in range(5):
        submit_one(database)
    healthy = submit_one(
        database, target_url="https://b.example/", origin="https://b.example:443", target_host="b.example"
    )
    open_one(database)
    assert [task.id for task in claim_all(database)] == [healthy.id]
    clock.advance(seconds=FIRST_SPAN.total_seconds())
    probing = claim_all(database)
    assert [task.progress.number for task in probing] == [1], "no attempt was used up, and one probe is on its way"
    assert claim_all(database) == []


def test_what_waits_is_woken_when_the_breaker_lets_more_start(database: Database, clock: Clock) -> None:
    for _ in range(5):
        submit_one(database)
    open_one(database)
    assert claim_all(database) == []
    clock.advance(seconds=FIRST_SPAN.total_seconds())
    task = claim_one(database)
    assert claim_all(database) == []
    report(database, HOST, sound=1)
    settle_one(database, task, answer())
    assert len(claim_all(database)) == 2


# By hand.


def test_a_breaker_can_be_closed_by_hand_and_what_waits_may_start(database: Database) -> None:
    submit_one(database)
    open_one(database)
    assert claim_all(database) == []
    with database.begin() as conn:
        noted = origins.reset(conn, database, "default", HOST)
    assert noted is not None
    assert (noted.before.state, noted.after.state) == (BreakerState.OPEN, BreakerState.CLOSED)
    assert breaker(database) == noted.after
    assert len(claim_all(database)) == 1


def test_an_origin_without_a_breaker_and_one_of_another_project_cannot_be_reset(database: Database) -> None:
    report(database, HOST, failures=FAILURES, project="other")
    with database.begin() as conn:
        assert origins.reset(conn, database, "default", HOST) is None
    found = breaker(database, project="other")
    assert found is not None and found.state is BreakerState.OPEN


# Finding.


def test_breakers_are_found_by_the_state_that_counts_now(database: Database, clock: Clock) -> None:
    slow, probing, opened, quiet = (f"https://{name}.example:443" for name in ("slow", "probing", "open", "quiet"))
    open_one(database, slow, probing)
    probe(database, clock, slow)
    open_one(database, opened)
    report(database, quiet, failures=1)
    by_state = {each: listed(database, states=[each]) for each in BreakerState}
    assert by_state == {
        BreakerState.CLOSED: [quiet],
        BreakerState.OPEN: [opened],
        BreakerState.PROBING: [probing],
        BreakerState.SLOW: [slow],
    }
    assert listed(database) == sorted([slow, probing, opened, quiet])
    assert listed(database, origin=slow) == [slow]
    assert listed(database, origin="https://other.example:443") == []


def test_a_list_of_breakers_is_read_page_by_page(database: Database) -> None:
    names = [f"https://host-{number}.example:443" for number in range(5)]
    open_one(database, *names)
    report(database, "https://foreign.example:443", failures=FAILURES, project="other")
    with database.read() as conn:
        search = partial(origins.search, conn, "default", states=ALL, origin=None, limit=2, now=database.now(conn))
        pages = every_page(lambda cursor: search(cursor=cursor))
    assert [[each.origin for each in page] for page in pages] == [names[:2], names[2:4], names[4:]]


@pytest.mark.parametrize("cursor", ["x", "", "_w", "_wBkZWZhdWx0"])
def test_a_cursor_of_another_list_is_refused(database: Database, cursor: str) -> None:
    with database.read() as conn, pytest.raises(InvalidTask):
        origins.search(conn, "default", states=ALL, origin=None, cursor=cursor, limit=2, now=database.now(conn))


# Forgetting.


def forget(database: Database, *, limit: int = 100, all_of_them: bool = False) -> int:
    with database.begin() as conn:
        return origins.forget(conn, database, limit=limit, all_of_them=all_of_them)


def test_breakers_long_closed_are_forgotten(database: Database, clock: Clock) -> None:
    report(database, HOST, failures=1)
    assert forget(database) == 0
    clock.advance(minutes=11)
    assert forget(database) == 1
    assert breaker(database) is None


def test_a_breaker_that_is_not_closed_is_kept_for_a_day(database: Database, clock: Clock) -> None:
    open_one(database)
    clock.advance(hours=23)
    assert forget(database) == 0
    clock.advance(hours=2)
    assert forget(database) == 1


def test_where_breakers_are_switched_off_all_are_forgotten_and_what_waits_may_start(database: Database) -> None:
    submit_one(database)
    open_one(database)
    assert claim_all(database) == []
    assert forget(database, all_of_them=True) == 1
    assert len(claim_all(database)) == 1


def test_forgetting_goes_in_small_batches(database: Database, clock: Clock) -> None:
    report(database, *(f"https://host-{number}.example:443" for number in range(5)), failures=1)
    clock.advance(minutes=11)
    assert [forget(database, limit=2) for _ in range(4)] == [2, 2, 1, 0]
