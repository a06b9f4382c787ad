"""Timed upkeep on a thread of its own: lapsed leases, expired tasks, bulk operations, old rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from taskqueue import telemetry
from taskqueue.core.lifecycle import decide, expire
from taskqueue.core.outcome import lapsed
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Task, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import leases, operations, order_blocks, origins, parking, retention, strands
from taskqueue.store.database import Database
from taskqueue.telemetry import Event
from taskqueue.worker.background import Background
from taskqueue.worker.clock import ticks
from taskqueue.worker.deaths import tell_deaths
from taskqueue.worker.outage import Outage
from taskqueue.worker.settling import write

_BATCH = operations.BATCH
_OPERATIONS_SECONDS = 0.5
_RECOUNT_SECONDS = 1.0


@dataclass(slots=True)
class _Chore:
    name: str
    every: float  # seconds
    once: Callable[[], int]  # does one batch; returns how many rows it wrote, not counting those it could not
    batch: int = _BATCH
    due_at: float = 0.0
    outage: Outage = field(init=False)

    def __post_init__(self) -> None:
        self.outage = Outage(self.name)


class Chores:
    """Every worker does all of them, each at its own moments; that two do the same at once harms nobody."""

    def __init__(
        self,
        database: Database,
        *,
        limits: Limits,
        reclaim_every: timedelta,
        keep_ended: timedelta,
        keep_dead: timedelta,
        breakers: bool = True,
        prune_every: timedelta = timedelta(minutes=1),
    ) -> None:
        self._database, self._limits = database, limits
        self._keep_ended, self._keep_dead, self._breakers = keep_ended, keep_dead, breakers
        sweep = reclaim_every.total_seconds()
        self._chores = [
            _Chore("reclaim", sweep, self._reclaim),
            _Chore("expire", sweep, self._expire),
            _Chore("operations", _OPERATIONS_SECONDS, self._advance),
            _Chore("prune", prune_every.total_seconds(), self._prune, retention.BATCH),
            _Chore("recount", _RECOUNT_SECONDS, self._recount),
            _Chore("place", sweep, self._place),
            _Chore("park", sweep, self._park),
            _Chore("unblock", sweep, self._unblock),
            _Chore("strands", prune_every.total_seconds(), self._tidy_strands),
            _Chore("breakers", prune_every.total_seconds(), self._forget_breakers),
        ]
        self.thread = Background("chores")

    def start(self) -> None:
        now = ticks()
        for chore in self._chores:
            chore.due_at = now + chore.every * random.random()  # noqa: S311 - so that many workers do not march in step
        self.thread.start(self._run)

    def _run(self) -> None:
        while self.thread.rest((chore := self._next()).due_at - ticks()):
            self._do(chore)

    def _next(self) -> _Chore:
        return min(self._chores, key=lambda each: each.due_at)

    def _do(self, chore: _Chore) -> None:
        try:
            done = chore.once()
        except Exception as error:
            chore.due_at = ticks() + chore.outage.struck(error)
        else:
            chore.outage.over()
            # A whole batch means that there is more; the others get their turn in between.
            pause = 0.0 if done >= chore.batch else chore.every * random.uniform(0.8, 1.2)  # noqa: S311
            chore.due_at = ticks() + pause

    def _reclaim(self) -> int:
        with self._database.read() as conn:
            found = leases.lapsed(conn, self._database, limit=_BATCH)
            now = self._database.now(conn)
        tombstones = [task.lease for task in found if task.state is TaskState.CANCELLED and task.lease]
        if tombstones:
            with self._database.begin() as conn:
                leases.let_go(conn, self._database, tombstones)
        lost = [task for task in found if task.state is TaskState.RUNNING]
        outcome, jitter = lapsed(), random.random()  # noqa: S311
        return len(tombstones) + self._write(
            lost, lambda task: decide(task, outcome, now=now, jitter=jitter, limits=self._limits), Event.LEASE_LAPSED
        )

    def _expire(self) -> int:
        with self._database.read() as conn:
            found = leases.expired(conn, self._database, limit=_BATCH)
            now = self._database.now(conn)
        return self._write(found, lambda task: expire(task, now=now), Event.TASK_EXPIRED)

    def _write(self, tasks: list[Task], settlement_of: Callable[[Task], Settlement], event: Event) -> int:
        if not tasks:
            return 0
        written = write(self._database, [settlement_of(task) for task in tasks], limits=self._limits)
        tell_deaths(written.settled)
        refused = dict(written.refused)
        for task in tasks:
            if task.id in refused:
                telemetry.exception(Event.SETTLE_REFUSED, refused[task.id], task_id=task.id)
            elif task.id not in written.stale:
                telemetry.info(event, task_id=task.id, worker=task.worker)
        return len(tasks) - len(refused) - len(written.stale)

    def _advance(self) -> int:
        with self._database.begin() as conn:
            return operations.advance(conn, self._database)

    def _prune(self) -> int:
        with self._database.begin() as conn:
            return retention.prune(conn, self._database, ended=self._keep_ended, dead=self._keep_dead)

    def _recount(self) -> int:
        with self._database.begin() as conn:
            return len(self._database.dialect.recount(conn))

    def _place(self) -> int:
        with self._database.begin() as conn:
            return strands.place_older(conn, self._database, limit=_BATCH)

    def _park(self) -> int:
        with self._database.begin() as conn:
            parked = parking.step(conn, self._database, limit=_BATCH)
        if parked is None:
            return 0
        if parked.count:
            telemetry.warning(Event.TASKS_PARKED, task_id=parked.behind, queue=parked.queue, count=parked.count)
        return _BATCH  # another lane may have something to park

    def _unblock(self) -> int:
        with self._database.begin() as conn:
            return order_blocks.lift_obsolete(conn, self._database, limit=_BATCH)

    def _tidy_strands(self) -> int:
        with self._database.begin() as conn:
            overlooked = strands.wake_overlooked(conn, self._database, limit=_BATCH)
            forgotten = strands.forget_empty(conn, limit=_BATCH)
        if overlooked:
            telemetry.warning(Event.TASKS_OVERLOOKED, count=overlooked)
        return forgotten

    def _forget_breakers(self) -> int:
        with self._database.begin() as conn:
            return origins.forget(conn, self._database, limit=_BATCH, all_of_them=not self._breakers)
