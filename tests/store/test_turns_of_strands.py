"""Whose turn it is in the database: priorities age, projects share, and an idle key does not stand in line."""

from __future__ import annotations

import pytest

from taskqueue.core.task import Task
from taskqueue.store.database import Database
from tests.store.limits import ORIGIN, claim, fill, ids, limit_flow, to_host
from tests.store.lines import asleep, line_up
from tests.store.steps import settle_all
from tests.support.builders import new_task, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("attended")
HOSTS = 70  # more than a claim simply looks at


def hosts(count: int, prefix: str = "h") -> list[dict[str, str]]:
    return [to_host(f"{prefix}{number}.example") for number in range(count)]


def test_the_higher_priority_comes_first(database: Database) -> None:
    for priority in (0, 9, 5):
        fill(database, 10, priority=priority)
    assert [claim(database, 10).tasks[0].spec.priority for _ in range(3)] == [9, 5, 0]


def test_a_low_priority_waits_for_45_seconds_of_fresh_high_ones_at_most(database: Database, clock: Clock) -> None:
    fill(database, 3, priority=0)
    order = []
    for _ in range(24):
        fill(database, 1, priority=9)
        order += [task.spec.priority for task in claim(database, 1).tasks]
        clock.advance(seconds=5)
    first = order.index(0)
    assert 8 <= first <= 10
    assert 0 not in order[first + 1 : first + 8]
    assert order.count(0) == 2


def test_low_priorities_do_not_starve_where_many_strands_are_due(database: Database, clock: Clock) -> None:
    waiting = [new_task(priority=9, **host) for host in hosts(HOSTS) for _ in range(20)]
    submit(database, *waiting)
    low = submit_one(database, priority=0)
    order = []
    for _ in range(60):
        order += ids(claim(database, 20).tasks)
        clock.advance(seconds=2)
    # The others waited as long; then each of them is fresh for 45 seconds, which is 22 claims.
    assert HOSTS * 8 <= order.index(low.id) <= HOSTS * 8 + 23 * 20


@pytest.mark.parametrize(
    ("strands", "each", "limit"),
    [(1, 100_000, 5), (1, 1000, 1), (1, 1000, 100), (HOSTS, 30, 1), (HOSTS, 30, 5), (HOSTS, 30, 100)],
)
def test_a_crowd_of_one_project_does_not_delay_the_task_of_another(
    database: Database, strands: int, each: int, limit: int
) -> None:
    line_up(database, strands=strands, each=each, whole=min(each, 500), projects=("crowd",))
    claim(database, limit)
    after = claim(database, limit).after
    one = submit_one(database, project="one")
    first = claim(database, limit, after=after)
    second = claim(database, limit, after=first.after)
    assert one.id in ids([*first.tasks, *second.tasks])
    assert len(first.tasks) == len(second.tasks) == limit


@pytest.mark.parametrize("limit", [1, 8, 60])
def test_many_projects_with_many_strands_all_have_their_turn(database: Database, limit: int) -> None:
    projects = [f"p{number:02}" for number in range(20)]
    each = 4 if limit == 1 else 8
    submit(database, *(new_task(project=project, **host) for project in projects for host in hosts(each)))
    found: list[Task] = []
    after = ""
    for _ in range(-(-20 * max(1, limit // 8) // limit) + 2):
        claimed = claim(database, limit, after=after)
        found, after = found + claimed.tasks, claimed.after
    assert {task.spec.project for task in found} == set(projects)
    while len(found) < 20 * each:
        claimed = claim(database, limit, after=after)
        assert claimed.tasks
        found, after = found + claimed.tasks, claimed.after


def test_hundreds_of_projects_that_only_wait_do_not_hide_the_one_that_is_due(database: Database, clock: Clock) -> None:
    asleep(database, tuple(f"p{number:03}" for number in range(300)))
    for host in hosts(HOSTS):
        submit_one(database, project="zz", **host)
    found: list[Task] = []
    after, claims = "", 0
    while len(found) < HOSTS:
        claimed = claim(database, 100, after=after)
        found, after, claims = found + claimed.tasks, claimed.after, claims + 1
        assert claimed.tasks or claimed.next_due is not None
        assert claims <= 3
    clock.advance(hours=2)
    assert len(claim(database, 256).tasks) == 256


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_a_task_on_an_idle_key_comes_with_the_next_claim_though_a_thousand_keys_are_saturated(
    database: Database, known: bool
) -> None:
    if known:
        fill(database, 1, flow_key="idle")
        settle_all(database, claim(database).tasks, 200)
        assert claim(database).tasks == []
    line_up(database, strands=1000, each=10)
    while claim(database, 200, flow_cap=2).tasks:
        continue
    task = submit_one(database, flow_key="idle")
    assert task.id in ids(claim(database, 20, flow_cap=2).tasks)


def test_keys_that_are_full_cost_a_claim_only_their_turn(database: Database) -> None:
    line_up(database, strands=300, each=10)
    taken = 0
    claims = 0
    while taken < 300:
        taken += len(claim(database, 100, flow_cap=1).tasks)
        claims += 1
    assert claims <= 6
    task = submit_one(database, flow_key="idle")
    limit_flow(database, ORIGIN, concurrency=1)
    assert ids(claim(database, 5, flow_cap=1).tasks) == [task.id]
