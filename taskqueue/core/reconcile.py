"""Asking whether work was done: what the answer of a reconcile URL says, and what follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from taskqueue.core import retry
from taskqueue.core.json_body import NotJson, member, read_json
from taskqueue.core.outcome import Outcome, Partial
from taskqueue.core.retry import Backoff
from taskqueue.core.task import Kind, Task

MAX_FAILURES = 5  # to get an answer; then nobody knows
BACKOFF = Backoff(initial=timedelta(seconds=2), max=timedelta(minutes=5))
# The target said so itself, or nobody wants to know any more.
_SETTLED = frozenset({"success", "aborted", "cancelled"})


class Answer(StrEnum):
    """What became of the work."""

    DONE = "done"
    NOT_DONE = "not-done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer; ``answer`` is ``None`` when there was none that can be used."""

    answer: Answer | None
    outcome: Outcome  # as it goes on record


def wanted(task: Task, outcome: Outcome) -> bool:
    """True when the work may have been done and the caller said whom to ask."""
    if task.spec.policy.reconcile is None or task.spec.kind is not Kind.TASK:
        return False
    return outcome.partial >= Partial.POSSIBLE and outcome.cls.name not in _SETTLED


def wait(outcome: Outcome, failures: int, *, left: timedelta, now: datetime, jitter: float) -> timedelta:
    """Until it is asked again after the ``failures``-th failure in a row.

    Never more than half of what is ``left`` to the task: to call the target unasked is worse than to ask in haste.
    """
    asked_for = min(retry.named_wait(outcome, now) or timedelta(0), BACKOFF.max)
    return min(max(BACKOFF.delay(failures, jitter=jitter), asked_for), left / 2)


def read(outcome: Outcome) -> Reading:
    """What ``{"state": "done|not-done|unknown", "result": …}`` says; the result takes the place of the body."""
    response = outcome.response
    if outcome.cls.name != "success" or response is None:
        return Reading(None, outcome)
    if response.truncated:
        return _unusable(outcome, "the answer of the reconcile URL is too long")
    try:
        said = read_json(response.body)
        answer = Answer(said["state"]) if isinstance(said, dict) else None
    except (NotJson, ValueError, KeyError):
        said, answer = None, None
    if answer is None or not isinstance(said, dict):
        return _unusable(outcome, 'the reconcile URL did not answer {"state": "done"}, "not-done" or "unknown"')
    if answer is Answer.DONE:
        body = member(response.body, "result") or b""
        return Reading(answer, replace(outcome, response=replace(response, body=body)))
    return Reading(answer, replace(outcome, error_type="Reconcile", error_message=f"the reconcile URL said: {answer}"))


def _unusable(outcome: Outcome, message: str) -> Reading:
    return Reading(None, replace(outcome, error_type="Reconcile", error_message=message))
