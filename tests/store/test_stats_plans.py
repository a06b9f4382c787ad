"""What queues say of themselves is found through indexes, and is soon told with two hundred thousand tasks waiting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskqueue.store import flow_keys, migrations, operations, purges, queues, stats
from taskqueue.store.bulk import Portion
from taskqueue.store.database import Database
from taskqueue.store.purges import Waiting
from taskqueue.store.submissions import IdempotencyKey
from tests.store.crowd import clear, crowd
from tests.store.overhear import Said, overheard, plan_of
from tests.support.builders import claim_all, kill_one, new_task, submit
from tests.support.clock import Clock

ORIGIN = "https://target.example:443"
# Wakes and strands are few; of what waits, runs or has ended no statement may read all.
TABLES = "ready|tasks|endings|attempts"
WALKS = re.compile(rf"Seq Scan on ({TABLES})\b|^SCAN ({TABLES})(?! USING INDEX ix_ready_leased)", re.MULTILINE)


@pytest.fixture
def crowded(database: Database, database_url: str, clock: Clock) -> Iterator[dict[str, list[Said]]]:
    """What each verb said, in a database that has since filled."""
    kill_one(database, labels=("red",))
    submit(database, new_task(ordering_key="a"), new_task(ordering_key="a"), *(new_task() for _ in range(5)))
    claim_all(database, limit=3)
    with database.begin() as conn:
        operation = operations.start_purge(conn, database, "default", Waiting(queue="mail"))
    said = {name: heard(database, verb) for name, verb in verbs(database, operation.id).items()}
    submit(database, new_task(), key=IdempotencyKey("default", "k", b"x"))  # of what waited, the purge left nothing
    with migrations.locked(database_url) as conn:  # it has more patience than the store
        crowd(conn)
    yield said
    with migrations.locked(database_url) as conn:
        clear(conn)


def verbs(database: Database, operation_id: Any) -> dict[str, Callable[[Any], Any]]:
    portion = Portion(project="default", operation_id=operation_id, cursor=None, limit=10, until=0.0)
    return {
        "stats of a queue": lambda conn: stats.of_queues(conn, database, "default", ["default"], most=1),
        "stats of a flow key": lambda conn: stats.of_flow_keys(conn, database, "default", [ORIGIN]),
        "names of queues": lambda conn: queues.search(conn, "default", cursor=None, limit=50),
        "find a queue": lambda conn: queues.find(conn, "default", "mail"),
        "find a flow key": lambda conn: flow_keys.find(conn, "default", "smtp"),
        "count for a purge": lambda conn: purges.count(conn, "default", Waiting(queue="default")),
        "count for a purge of a flow key": lambda conn: purges.count(conn, "default", Waiting(flow_key=ORIGIN)),
        "purge": lambda conn: purges.step(conn, database, Waiting(queue="default"), portion),
    }


def heard(database: Database, verb: Callable[[Any], Any]) -> list[Said]:
    with overheard() as said, database.begin() as conn:
        verb(conn)
    assert said
    return said


def test_nothing_is_read_whole(database: Database, crowded: dict[str, list[Said]]) -> None:
    plans = {name: [plan_of(database, each) for each in said] for name, said in crowded.items()}
    assert {name: plan for name, found in plans.items() for plan in found if WALKS.search(plan)} == {}
