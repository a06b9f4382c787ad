"""A claimed task in this worker's hands: its lease, until when that can be relied on, and the attempt under way."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from taskqueue.core.outcome import Phase
from taskqueue.core.task import Task
from taskqueue.delivery.http import Trace
from taskqueue.worker.clock import ticks


class Cut(Enum):
    """Why an attempt was cut short."""

    STALE = "its lease is void: the task was cancelled or taken away"
    FENCED = "its lease may lapse before it can be extended"
    DRAINED = "the worker stops"
    UNSTARTED = "no slot came free for it soon enough"


class Held:
    """Made, and its ``fence`` moved, on any thread; everything else belongs to the event loop."""

    __slots__ = ("_since", "cut_for", "delivery", "fence", "lease", "task", "trace")

    def __init__(self, task: Task, *, fence: float) -> None:
        assert task.lease is not None, "a claimed task is leased"
        self.task, self.lease = task, task.lease
        self.fence = fence  # after it, in ticks, nothing of this attempt may be on the wire
        self.trace: Trace = _GatedTrace(self)
        self.cut_for: Cut | None = None
        self._since = ticks()
        self.delivery: asyncio.Task[Any] | None = None  # that a cut cancels; without one it is only noted

    def now(self) -> datetime:
        """The database's clock: what it read at the claim, plus the time that went by here since."""
        assert self.task.started_at is not None, "a claimed task has started"
        return self.task.started_at + timedelta(seconds=ticks() - self._since)

    @property
    def fenced(self) -> bool:
        """True once the lease may lapse before anybody could extend it."""
        return ticks() >= self.fence

    def cut(self, why: Cut) -> None:
        """Stop the delivery at once. An attempt that has its outcome already is not disturbed."""
        if self.cut_for is None:
            self.cut_for = why
            if self.delivery is not None:
                self.delivery.cancel()


class _GatedTrace(Trace):
    """Lets no first byte out behind the fence: the process may have stood still since anybody last looked at it."""

    __slots__ = ("_held",)

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held = held

    def enter(self, phase: Phase) -> None:
        if phase is Phase.SENDING and self._held.fenced:
            self._held.cut_for = self._held.cut_for or Cut.FENCED
            raise asyncio.CancelledError
        super().enter(phase)
