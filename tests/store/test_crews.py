"""Many claimers, settlers, cancellers and dying workers at once: no cap is ever passed, and no slot is lost."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select

from taskqueue.core.lifecycle import decide
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import Task
from taskqueue.core.terms import Limits
from taskqueue.store import leases, strands, tasks
from taskqueue.store.database import Database
from taskqueue.store.schema import ready
from tests.store.limits import claim, limit_flow, limit_queue, running
from tests.store.steps import reclaim
from tests.store.threads import at_once, results
from tests.support.builders import answer, new_task, submit

pytestmark = pytest.mark.usefixtures("sound", "attended")
SECONDS = 1.2
LEASE = timedelta(seconds=0.3)  # lapses while the test goes on
CAPS = {("queue", "narrow"): 3, ("queue", "wide"): 7, ("flow", "a"): 2, ("flow", "b"): 4}
PATIENT = Limits(lost_limit=50)
AT_ONCE = Backoff(type=BackoffType.FIXED, initial=timedelta(milliseconds=20), jitter=Jitter.NONE)


@dataclass
class Crew:
    """Who works on one database for a while, each with dice of its own."""

    database: Database
    until: float
    most: Counter[tuple[str, str]] = field(default_factory=Counter)  # seen at once in one snapshot
    held: list[tuple[Task, float, float]] = field(default_factory=list)  # certainly, from one instant to another

    def work(self, seed: int) -> None:
        """Claim, hold for a moment, then settle, cancel or forget: whoever forgets is a worker that died."""
        dice = random.Random(seed)
        while (asked := time.monotonic()) < self.until:
            claimed = claim(self.database, dice.randrange(1, 8), lease=LEASE).tasks
            since = time.monotonic()
            for task in claimed:
                move = dice.random()
                lapses = asked + LEASE.total_seconds()
                self.held.append((task, since, lapses if move >= 0.9 else min(time.monotonic(), lapses)))
                if move < 0.75:
                    self._settle(task, dice.choice((200, 200, 400, 500)))
                elif move < 0.9:
                    self._cancel(task, dice)

    def look(self) -> None:
        """See how much runs, as often as possible."""
        while time.monotonic() < self.until:
            with self.database.read() as conn:
                for kind, column in (("queue", ready.c.queue), ("flow", ready.c.flow_key)):
                    counted = select(column, func.count()).where(ready.c.lease_token.is_not(None)).group_by(column)
                    for name, count in conn.execute(counted):
                        self.most[kind, name] = max(self.most[kind, name], count)

    def sweep(self) -> None:
        """Take back what lapsed."""
        while time.monotonic() < self.until:
            reclaim(self.database, PATIENT)
            time.sleep(0.05)

    def _settle(self, task: Task, status: int) -> None:
        with self.database.begin() as conn:
            decided = decide(task, answer(status), now=self.database.now(conn), jitter=0.0, limits=Limits())
            leases.settle(conn, self.database, [decided])

    def _cancel(self, task: Task, dice: random.Random) -> None:
        with self.database.begin() as conn:
            if tasks.get(conn, "default", task.id) != task:
                return  # its lease lapsed, and somebody else has it
            tasks.cancel(conn, self.database, "default", task.id)
        if dice.random() < 0.7 and task.lease:
            with self.database.begin() as conn:
                leases.let_go(conn, self.database, [task.lease])


def overlaps(held: list[tuple[Task, float, float]]) -> Counter[tuple[str, str]]:
    """Of each queue and flow key, how many tasks their workers held at the same instant, by their own clock."""
    changes: defaultdict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for task, start, end in held:
        for key in (("queue", task.spec.queue), ("flow", str(task.spec.flow_key))):
            changes[key] += [(start, 1), (max(start, end), -1)]
    most: Counter[tuple[str, str]] = Counter()
    for key, steps in changes.items():
        at_a_time = 0
        for _, step in sorted(steps):  # an end before a start of the same instant
            at_a_time += step
            most[key] = max(most[key], at_a_time)
    return most


def test_caps_hold_whatever_happens_to_those_that_run(database: Database, other: Database) -> None:
    for (kind, name), cap in CAPS.items():
        (limit_queue if kind == "queue" else limit_flow)(database, name, concurrency=cap)
    dice = random.Random(7)
    submit(
        database,
        *(
            new_task(
                queue=dice.choice(("narrow", "wide")),
                flow_key=dice.choice("abc"),
                priority=dice.randrange(10),
                ordering_key=dice.choice((None, None, None, "k", "l")),
                backoff=AT_ONCE,
                retries=50,
            )
            for _ in range(400)
        ),
    )
    until = time.monotonic() + SECONDS
    crews = [Crew(store, until) for store in (database, other)]
    calls: list[Callable[[], None]] = [partial(crew.work, number) for number in range(3) for crew in crews]
    calls += [crews[0].look, crews[1].look, crews[0].sweep]
    results(at_once(calls))
    seen = crews[0].most | crews[1].most | overlaps(crews[0].held + crews[1].held)
    assert {key: most for key, most in seen.items() if most > CAPS.get(key, 400)} == {}
    assert {key for key, cap in CAPS.items() if seen[key] == cap} >= {("queue", "narrow"), ("flow", "a")}
    time.sleep(LEASE.total_seconds())
    reclaim(database, PATIENT)
    assert running(database) == 0
    with database.begin() as conn:
        assert strands.wake_overlooked(conn, database, limit=100) == 0
    claimed = claim(database, 400).tasks
    of_queue = Counter(task.spec.queue for task in claimed)
    assert of_queue["narrow"] == 3, "the slots of all who died are free"
