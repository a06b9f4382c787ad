"""The bare part of a worker: a batch claimed, delivered and settled, then the next, with nothing beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bench.children import HOST
from bench.deliver import IN_FLIGHT, at_once, attempts, on_uvloop
from bench.plain import Ends, Plain, ends
from bench.rounds import Sample, Stopwatch
from bench.work import fill, new_task, settlements
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store.database import Database
from taskqueue.store.search import TaskFilter, search

BATCH = 100  # tasks in one claim


@dataclass(frozen=True, slots=True)
class BareWorker:
    """Works alone: no other worker may look at ``database``."""

    database: Database
    plain: Plain
    port: int

    def drained(self, count: int) -> Sample:
        """From the first claim until the last of ``count`` tasks has ended, over connections that stand."""
        self.plain.empty()
        fill(self.database, count, task=new_task(f"http://{HOST}:{self.port}/work"), at_once=count)
        sample = on_uvloop(self._drain(count))
        assert not self.plain.waiting(), "the bench settles all that it filled in"
        return sample

    async def _drain(self, count: int) -> Sample:
        async with attempts(self.port) as deliver:
            await at_once(deliver, IN_FLIGHT)
            with Stopwatch() as watch:
                for left in range(count, 0, -BATCH):
                    claimed = self.plain.claim(min(BATCH, left))
                    await at_once(deliver, claimed)
                    with watch.paused():
                        ready_made = self._ends()
                    self.plain.succeed(ready_made)
        return watch.sample(count)

    def _ends(self) -> Ends:
        """What settles all that is leased. Only the claim knows its leases, so it cannot be made before."""
        now = datetime.now(UTC)
        with self.database.begin() as conn:
            running = TaskFilter(status="running", kind=None)
            leased = search(conn, DEFAULT_PROJECT, running, cursor=None, limit=BATCH, now=now).items
        return ends(self.plain, settlements(leased, status=200, now=now), now=now)
