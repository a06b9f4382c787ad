"""Many attempts' outcomes, one transaction: each waits until its own is written."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from taskqueue import telemetry
from taskqueue.core.errors import StoreUnavailable
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Lease, TaskId
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.telemetry import Event
from taskqueue.worker.deaths import tell_deaths
from taskqueue.worker.off_loop import StoreThread, off_loop
from taskqueue.worker.outage import Outage
from taskqueue.worker.settling import Written, write
from taskqueue.worker.slots import Slots

_BATCH = 500
_GATHER = 0.005  # seconds; a longer batch would widen the span in which a crash repeats attempts


@dataclass(slots=True)
class _Waiting:
    settlement: Settlement
    written: asyncio.Future[bool]


class Settler:
    """Writes settlements in batches, each with its own token, and keeps trying while the store is away."""

    def __init__(self, database: Database, slots: Slots, *, limits: Limits) -> None:
        self._database, self._slots, self._limits = database, slots, limits
        self.thread = StoreThread("settle")
        self._outage = Outage("settle")
        self._waiting: list[_Waiting] = []
        self._since = 0.0  # when the oldest of them arrived, by the loop's clock
        self._gone: list[Lease] = []
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()

    async def settle(self, settlement: Settlement) -> bool:
        """Wait until ``settlement`` is written. False: its lease was void, or no form of it could be written."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(settlement, loop.create_future())
        if not self._waiting:
            self._since = loop.time()
        self._waiting.append(waiting)
        self._arrived.set()
        # When everything held waits here, nobody else can join the batch.
        if len(self._waiting) >= min(_BATCH, self._slots.taken):
            self._enough.set()
        return await waiting.written

    def let_go(self, lease: Lease) -> None:
        """Report, without waiting, that the attempt under a void lease is off the wire."""
        self._gone.append(lease)
        self._arrived.set()

    async def run(self) -> None:
        """Write what arrives, until cancelled."""
        while True:
            await self._arrived.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._since + _GATHER):
                    await self._enough.wait()
            await self._flush()

    async def _flush(self) -> None:
        batch, gone = self._next_batch(), self._gone
        self._gone = []
        if not self._waiting:
            self._arrived.clear()
            self._enough.clear()
        if gone:
            await self._free_lanes(gone)
        if not batch:
            return
        written = await self._written([waiting.settlement for waiting in batch])
        _tell(written)
        failed = written.stale.union(task_id for task_id, _ in written.refused)
        for waiting in batch:
            task = waiting.settlement.task
            if task.id in written.stale and task.lease is not None:
                self.let_go(task.lease)  # its attempt is over: a cancelled task may free its lane
            if not waiting.written.done():
                waiting.written.set_result(task.id not in failed)

    async def _written(self, settlements: list[Settlement]) -> Written:
        """Try until the store answers. Only it knows whether a lease is void, so no outcome is thrown away early."""
        while True:
            try:
                written = await off_loop(self.thread, write, self._database, settlements, limits=self._limits)
            except StoreUnavailable as error:
                await asyncio.sleep(self._outage.struck(error))
            else:
                self._outage.over()
                return written

    async def _free_lanes(self, gone: list[Lease]) -> None:
        try:
            await off_loop(self.thread, self._let_go, gone)
        except Exception as error:
            # The tombstones lapse like any lease, and reclaim frees their lanes then.
            await asyncio.sleep(self._outage.struck(error))

    def _let_go(self, gone: list[Lease]) -> None:
        with self._database.begin() as conn:
            leases.let_go(conn, self._database, gone)

    def _next_batch(self) -> list[_Waiting]:
        """At most one settlement per task: the store names stale ones by task."""
        batch: dict[TaskId, _Waiting] = {}
        later = []
        for waiting in self._waiting:
            task_id = waiting.settlement.task.id
            if len(batch) < _BATCH and task_id not in batch:
                batch[task_id] = waiting
            else:
                later.append(waiting)
        self._waiting = later
        return list(batch.values())


def _tell(written: Written) -> None:
    tell_deaths(written.settled)
    for task_id in written.stale:
        telemetry.info(Event.LEASE_STALE, task_id=task_id)
    for task_id, error in written.plainer:
        telemetry.exception(Event.SETTLE_PLAINER, error, task_id=task_id)
    for task_id, error in written.refused:
        telemetry.exception(Event.SETTLE_REFUSED, error, task_id=task_id)
