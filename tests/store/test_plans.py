"""Whatever the store asks for is found through an index, on a generic plan and with two hundred thousand tasks waiting.

The statements are those that it really sends: overheard while it works on a few tasks, explained once there is a crowd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.core.policy import OnUnknown, Policy, Reconcile
from taskqueue.core.task import FollowUp, Kind, Task
from taskqueue.store import dead_letters, leases, migrations, retention, search, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.search import TaskFilter
from taskqueue.store.submissions import IdempotencyKey
from tests.store.crowd import clear, crowd
from tests.store.overhear import Said, overheard, plan_of
from tests.store.steps import decided, settle
from tests.support.builders import (
    LEASE,
    answer,
    claim_all,
    claim_one,
    kill_one,
    new_task,
    settle_one,
    submit,
    submit_one,
)
from tests.support.clock import Clock

TABLES = "ready|strands|wakes|tasks|attempts|endings|idempotency_keys|dead_letters|task_labels"
# A walk over all rows, and in SQLite's words a walk over all entries of an index: right for the few that are leased.
WALKS = re.compile(rf"Seq Scan on ({TABLES})\b|^SCAN ({TABLES})(?! USING INDEX ix_ready_leased)", re.MULTILINE)
THROUGH = {
    "claim": "ix_ready_waiting",
    "next due": "ix_strands_next",
    "lapsed": "ix_ready_leased",
    "expired": "ix_ready_expiry",
    "enter a lane": "ix_ready_lane",
    "leave a lane": "ix_ready_lane",
    "prune": "ix_endings_never_died",
    "chain": "ix_tasks_chain",
    "group dead letters": "ix_dead_letters_fingerprint",
    "group dead letters of one kind": "ix_dead_letters_fingerprint",
}


@pytest.fixture
def crowded(database: Database, database_url: str, clock: Clock) -> Iterator[dict[str, list[Said]]]:
    """What each verb said, in a database that has since filled."""
    said = listen_to_everything(database, clock)
    with migrations.locked(database_url) as conn:  # it has more patience than the store
        crowd(conn)
    yield said
    with migrations.locked(database_url) as conn:
        clear(conn)


def test_every_verb_goes_through_an_index(database: Database, crowded: dict[str, list[Said]]) -> None:
    plans = {name: [plan_of(database, each) for each in said] for name, said in crowded.items()}
    walks = {name: plan for name, found in plans.items() for plan in found if WALKS.search(plan)}
    assert walks == {}
    for name, index in THROUGH.items():
        assert any(index in plan for plan in plans[name]), "\n\n".join(plans[name])


def listen_to_everything(database: Database, clock: Clock) -> dict[str, list[Said]]:
    said: dict[str, list[Said]] = {}

    def hear(name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with overheard() as heard:
            found = call(*arguments, **named)
        said[name] = heard
        assert heard, f"{name} said nothing"
        return found

    def write(verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with database.begin() as conn:
            return verb(conn, database, *arguments, **named)

    def look(verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with database.read() as conn:
            return verb(conn, *arguments, **named)

    key = IdempotencyKey("default", "k", b"x")
    kill_one(database, labels=("red",))
    root = followed(database, hear, clock)
    submit(database, new_task(ordering_key="a"), new_task(ordering_key="a"), *(new_task() for _ in range(5)))
    claimed = hear("claim", claim_all, database, limit=6)
    in_lane, first, second, third, *_ = sorted(claimed, key=lambda task: task.spec.ordering_key is None)
    hear("next due", claim_all, database, limit=6)
    hear("enter a lane", submit, database, new_task(ordering_key="a"))
    submit(database, new_task(), key=key)
    hear("submit with a key", submit, database, new_task(), key=key)
    hear("extend", write, leases.extend, [task.lease for task in claimed], lease=LEASE)
    hear("leave a lane", settle, database, decided(database, in_lane, answer(200)))
    hear("settle", settle, database, decided(database, first, answer(400)), decided(database, second, answer(500)))
    hear("get", look, tasks.get, "default", first.id)
    hear("get after an asking", look, tasks.get, "default", root.id)
    hear("chain", look, tasks.chain, "default", root.id)
    hear("attempts", look, tasks.attempts, "default", first.id)
    hear("webhooks", look, tasks.webhooks, "default", first.id)
    hear("ended", look, tasks.ended, [("default", first.id)])
    hear("run now", write, tasks.run_now, "default", submit_one(database, delay=timedelta(hours=1)).id)
    hear("cancel", write, tasks.cancel, "default", third.id)
    hear("let go", write, leases.let_go, [third.lease])
    clock.advance(seconds=5)
    hear("lapsed", look, leases.lapsed, database, limit=100)
    hear("expired", look, leases.expired, database, limit=100)
    hear("prune", write, retention.prune, ended=timedelta(days=14), dead=timedelta(days=30))
    letter = look(dead_letters.search, "default", DeadLetterFilter(), cursor=None, limit=9).items[0]
    page = {"cursor": None, "limit": 50}
    for name, of in {
        "search dead letters": DeadLetterFilter(),
        "search dead letters of a task": DeadLetterFilter(task_id=first.id),
        "search dead letters by kind": DeadLetterFilter(kind=Kind.WEBHOOK),
        "search dead letters by class": DeadLetterFilter(cls="timeout"),
        "search all dead letters": DeadLetterFilter(include_redriven=True),
    }.items():
        hear(name, look, dead_letters.search, "default", of, **page)
    hear("group dead letters", look, dead_letters.groups, "default", DeadLetterFilter(), **page)
    hear(
        "group dead letters of one kind", look, dead_letters.groups, "default", DeadLetterFilter(kind=Kind.TASK), **page
    )
    hear("redrive", write, dead_letters.redrive, "default", letter.id)
    now = first.created_at
    for name, wanted in {
        "search": TaskFilter(),
        "search for webhooks": TaskFilter(kind=Kind.WEBHOOK),
        "search by queue": TaskFilter(queue="default"),
        "search by label": TaskFilter(label="red"),
    }.items():
        hear(name, look, search.search, "default", wanted, now=now, **page)
    return said


def followed(database: Database, hear: Callable[..., Any], clock: Clock) -> Task:
    """A death that somebody was asked about, and what follows it."""
    asking = Reconcile(url="https://target.example/done", timeout=timedelta(seconds=1), on_unknown=OnUnknown.HOLD)
    undo = FollowUp(task=new_task(delay=timedelta(days=1)))
    task = submit_one(database, policy=Policy(reconcile=asking), on_failure=undo)
    settle_one(database, claim_one(database), answer(500), jitter=0.0)
    clock.advance(seconds=1)
    asked = claim_one(database)
    hear("settle with a follow-up", settle_one, database, asked, answer(200, body=b'{"state": "unknown"}'))
    return task
