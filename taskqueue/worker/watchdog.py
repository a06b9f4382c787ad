"""What the event loop looks after: no attempt outlives its lease, no worker outlives one of its threads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskqueue import telemetry
from taskqueue.telemetry import Event
from taskqueue.worker.background import Background
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Cut
from taskqueue.worker.slots import Slots

_SECONDS = 0.2  # far below the fence margin, which also has to cover the cut itself
_STALL_SECONDS = 1.0  # worth a word: nothing was sent, read or cut meanwhile


async def watch(slots: Slots) -> None:
    """Cut every attempt whose lease may lapse, whether or not the database can be asked. Goes on until cancelled."""
    slots.pulse = ticks()
    while True:
        now = ticks()
        if now - slots.pulse > _STALL_SECONDS:
            telemetry.warning(Event.WORKER_STALLED, seconds=round(now - slots.pulse, 1))
        slots.pulse = now
        for held in slots.held():
            if held.fence <= now:
                held.cut(Cut.FENCED)
        await asyncio.sleep(_SECONDS)


async def guard(threads: Sequence[Background]) -> None:
    """Raise once a thread has ended: a worker that, say, claims and cannot extend would do harm in silence."""
    while True:
        for thread in threads:
            if thread.ended:
                raise RuntimeError(f"the thread {thread.name} has ended; the worker must be started anew")
        await asyncio.sleep(_SECONDS)
