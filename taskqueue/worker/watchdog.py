"""The fence on the event loop: cuts every attempt whose lease may lapse, whether or not the database can be asked."""

from __future__ import annotations

import asyncio

from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Cut
from taskqueue.worker.slots import Slots

_SECONDS = 0.2  # far below the fence margin, which also has to cover the cut itself


async def watch(slots: Slots) -> None:
    """Look at every fence five times a second, until cancelled."""
    while True:
        now = slots.pulse = ticks()
        for held in slots.held():
            if held.fence <= now:
                held.cut(Cut.FENCED)
        await asyncio.sleep(_SECONDS)
