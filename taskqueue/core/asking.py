"""What the reconcile URL was asked about a task's last call, and what came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TypedDict

from taskqueue.core.guidance import times
from taskqueue.core.task import Attempt, AttemptKind, Task

_SAID = re.compile(r"the reconcile URL said: ([a-z-]+)")


class Asked(TypedDict):
    """How often somebody was asked whether the work of the last call was done."""

    url: str
    times: int
    lastAnswer: str  # done, not-done or unknown; unusable; or the outcome class of an asking that failed
    onUnknown: str
    detail: str


def asked(task: Task, attempts: Sequence[Attempt]) -> Asked | None:
    """What was asked since the last call of ``attempts``, those of the generation; ``None`` for nothing."""
    whom = task.spec.policy.reconcile
    asks = list(takewhile(lambda attempt: attempt.kind is AttemptKind.RECONCILE, reversed(attempts)))
    if whom is None or not asks:
        return None
    count, answer, unknown = len(asks), answer_of(asks[0]), whom.on_unknown.value
    said = f"asked {times(count)} whether the work was done, last answer: {answer}"
    return {
        "url": whom.url,
        "times": count,
        "lastAnswer": answer,
        "onUnknown": unknown,
        "detail": f"{whom.url} was {said}; onUnknown is {unknown}",
    }


def answer_of(ask: Attempt) -> str:
    """What an asking that is on record came to, in a word."""
    outcome = ask.outcome
    if outcome.cls.name != "success":
        return outcome.cls.name
    if outcome.error_type is None:
        return "done"
    said = _SAID.fullmatch(outcome.error_message or "")
    return said[1] if said else "unusable"
