"""Claims work while slots are free: woken by hints, driven by polling alone if it must be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.store.leases import Claimed
from taskqueue.worker.clock import ticks
from taskqueue.worker.heartbeat import Heartbeat
from taskqueue.worker.held import Held
from taskqueue.worker.off_loop import StoreThread, off_loop
from taskqueue.worker.outage import Outage
from taskqueue.worker.signing import SigningSecrets
from taskqueue.worker.slots import Slots

# While there is more to claim: many tasks in one claim cost little more than one, so let some slots come free first.
_SHARE, _GATHER_SECONDS = 4, 0.005
# Seconds between looks at a queue that had nothing more to give.
_POLL_SHORTEST, _POLL_FIRST, _POLL_LONGEST = 0.005, 0.1, 1.0


class Loop:
    """Takes tasks for the free slots and hands each to ``start``; waits while there are no slots, tasks or store."""

    def __init__(
        self,
        database: Database,
        slots: Slots,
        secrets: SigningSecrets,
        start: Callable[[Held], None],
        *,
        worker: str,
        lease: timedelta,
        heartbeat: Heartbeat,
        batch: int,
        flow_cap: int | None,
    ) -> None:
        self._database, self._slots, self._secrets, self._start = database, slots, secrets, start
        self._worker, self._lease, self._heartbeat, self._batch = worker, lease, heartbeat, batch
        self._flow_cap, self._after = flow_cap, ""
        self.thread = StoreThread("claim")
        self._outage, self._secrets_outage = Outage("claim"), Outage("load signing secrets")
        self._poked, self._stopped = asyncio.Event(), asyncio.Event()

    def poke(self) -> None:
        """Something may be due: look now."""
        self._poked.set()

    def stop(self) -> None:
        """Claim nothing more; ``run`` returns soon, at the latest when the claim under way has been answered."""
        self._stopped.set()
        self.poke()

    async def run(self) -> None:
        """Claim until ``stop``. That the store is away is no reason to end."""
        poll, more = _POLL_FIRST, False
        while await self._may_claim(more):
            self._poked.clear()
            self._slots.tell_freed(self.poke)
            limit = min(self._slots.free, self._batch)
            if limit < 1:
                continue  # fewer are held ready than a moment ago
            try:
                held, claimed = await off_loop(self.thread, self._claim, limit)
            except Exception as error:
                await _either(self._stopped, self._outage.struck(error))
                continue
            self._outage.over()
            for each in held:
                self._start(each)
            more = len(held) == limit or claimed.at_share
            if not claimed.at_share:
                self._slots.tell_freed(None)  # free slots are not what is wanting
            if len(held) < limit:
                poll = _POLL_FIRST if held else min(_POLL_LONGEST, poll * 2)
                if await _either(self._poked, _rest(poll, claimed.next_due)):
                    poll = _POLL_FIRST

    async def _may_claim(self, more: bool) -> bool:
        """Wait for free slots; False once ``stop`` was called, also while slots were waited for."""
        await self._slots.until_free()
        if more and not self._stopped.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._slots.until_free(min(self._batch, self._slots.size // _SHARE))
        return not self._stopped.is_set()

    def _claim(self, limit: int) -> tuple[list[Held], Claimed]:
        self._heartbeat.check()
        asked_at = ticks()
        claimed = leases.claim(
            self._database,
            worker=self._worker,
            limit=limit,
            lease=self._lease,
            after=self._after,
            flow_cap=self._flow_cap,
            share=self._slots.share,
        )
        self._after = claimed.after
        held = [Held(task, fence=self._heartbeat.fence(asked_at)) for task in claimed.tasks]
        # Here and not on the loop: were the loop to stall now, these leases would lapse.
        self._slots.take(held)
        try:
            self._secrets.keep({DEFAULT_PROJECT, *(task.spec.project for task in claimed.tasks)})
        except Exception as error:
            self._secrets_outage.struck(error)
        else:
            self._secrets_outage.over()
        return held, claimed


def _rest(poll: float, next_due: timedelta | None) -> float:
    """Until a task is due, at most ``poll``; with jitter, so that many workers do not look all at once."""
    rest = poll * random.uniform(0.8, 1)  # noqa: S311 - spreads load
    # Never less than the shortest: what is due and yet not given would make us spin.
    return rest if next_due is None else min(rest, max(_POLL_SHORTEST, next_due.total_seconds()))


async def _either(event: asyncio.Event, seconds: float) -> bool:
    """Wait for ``event`` or for ``seconds``; True when it was the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
