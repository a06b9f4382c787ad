"""The log's word on tasks that died."""

from __future__ import annotations

from collections.abc import Iterable

from taskqueue import telemetry
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import TaskState
from taskqueue.telemetry import Event


def tell_deaths(settled: Iterable[Settlement]) -> None:
    """One warning for each death among settlements that were written; other endings are nobody's alarm."""
    for settlement in settled:
        ending = settlement.ending
        if ending is not None and ending.state is TaskState.DEAD:
            telemetry.warning(
                Event.TASK_DEAD,
                task_id=settlement.task.id,
                queue=settlement.task.spec.queue,
                reason=ending.reason.value if ending.reason else None,
                outcome=ending.cls,
                attempts=settlement.progress.number,
            )
