"""A task played through its attempts on a hand-moved clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Task
from taskqueue.core.terms import Limits
from tests.core.examples import NOW, running


@dataclass(frozen=True, slots=True)
class Played:
    """When each attempt began, in seconds from the first, and how the task stood after the last."""

    starts: list[float]
    last: Settlement

    @property
    def ended(self) -> tuple[str, str | None]:
        """State and reason."""
        ending = self.last.ending
        return self.last.state.value, ending.reason.value if ending and ending.reason else None


def play(task: Task, outcomes: Iterable[Outcome], *, jitter: float = 1.0, lost_limit: int = 3) -> Played:
    """Attempts that end as soon as they begin, one for each of ``outcomes``, until the task ends."""
    now, starts = NOW, list[float]()
    settlement = None
    for outcome in outcomes:
        starts.append((now - NOW).total_seconds())
        settlement = decide(task, outcome, now=now, jitter=jitter, limits=Limits(lost_limit=lost_limit))
        if settlement.wait is None:
            break
        now += settlement.wait
        task = again(settlement, started_at=now)
    assert settlement is not None, "a task is played with one outcome at least"
    return Played(starts, settlement)


def again(settlement: Settlement, **over: Any) -> Task:
    """The task of ``settlement``, with its next attempt under way."""
    progress = replace(settlement.progress, number=settlement.progress.number + 1, seq=settlement.progress.seq + 1)
    task = settlement.task
    fields: dict[str, Any] = {"started_at": NOW, "expires_in": task.expires_at - NOW, "spec": task.spec}
    return running(progress=progress, **fields | over)


def hours(count: float) -> float:
    return timedelta(hours=count).total_seconds()
