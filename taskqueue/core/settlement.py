"""What to write, in one transaction, once a task's state changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from taskqueue.core.fingerprint import fingerprint
from taskqueue.core.outcome import Outcome
from taskqueue.core.pattern import Facts, matches
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import (
    Attempt,
    AttemptKind,
    Ending,
    FollowUp,
    Kind,
    Progress,
    Task,
    TaskState,
    WebhookEvent,
)

_BARE = "HTTPStatus"  # the error type of an answer that says nothing but its status
_NOT_FAILURES = frozenset({"success", "cancelled", "released"})


@dataclass(frozen=True, slots=True)
class _Call:
    """What a death tells of the last call of the target."""

    status: int | None = None
    error_type: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Exactly one of ``wait`` and ``ending`` is set."""

    task: Task  # as it stood: its lease (or its having none) is the guard
    progress: Progress  # as it stands after
    attempt: Attempt | None  # the one that closes, if one was open
    wait: timedelta | None = None  # until the next attempt, from the moment of settling
    ending: Ending | None = None
    events: tuple[WebhookEvent, ...] = ()  # what the caller asked to be told of this change
    follow_up: FollowUp | None = None  # what the caller asked to be submitted with this ending

    @property
    def state(self) -> TaskState:
        return TaskState.QUEUED if self.ending is None else self.ending.state


def closed(task: Task, outcome: Outcome, *, now: datetime, charged: bool, kind: AttemptKind) -> Attempt:
    """The record of the attempt that a running task has open."""
    assert task.lease is not None, "only a running task has an attempt to close"
    assert task.started_at is not None, "an attempt has a start"
    return Attempt(
        id=task.lease.attempt_id,
        number=task.progress.number,
        kind=kind,
        outcome=outcome,
        charged=charged,
        started_at=task.started_at,
        finished_at=now,
        worker=task.worker or "",
        fingerprint=_of_failure(task, outcome),
    )


def waiting(task: Task, progress: Progress, *, wait: timedelta, attempt: Attempt) -> Settlement:
    """The task goes back among those that wait."""
    events = _asked(task, _attempt_events(attempt))
    return Settlement(task=task, progress=progress, attempt=attempt, wait=wait, events=events)


def ended(
    task: Task,
    progress: Progress,
    *,
    now: datetime,
    state: TaskState,
    attempt: Attempt | None,
    reason: DeadReason | None = None,
) -> Settlement:
    """The task ends; ``reason`` is that of a death."""
    memory = progress.memory
    ending = Ending(
        state=state,
        finished_at=now,
        reason=reason,
        cls=memory.previous,
        worst_partial=memory.worst_partial,
        attempt_id=attempt.id if attempt else None,
        fingerprint=_of_death(task, attempt, reason) if reason else None,
    )
    return Settlement(
        task=task,
        progress=progress,
        attempt=attempt,
        ending=ending,
        events=_asked(task, (*_attempt_events(attempt), WebhookEvent(state.value))),
        follow_up=_follow_up(task, ending, attempt),
    )


def _of_failure(task: Task, outcome: Outcome) -> str | None:
    if outcome.cls.name in _NOT_FAILURES:
        return None
    error_type, response = outcome.error_type, outcome.response
    if error_type == _BARE and response is not None:
        # The number in its message is all that there is to tell such failures by.
        error_type = f"{_BARE} {response.status}"
    return fingerprint(
        kind=outcome.cls.name,
        error_type=error_type,
        target_url=task.spec.target_url,
        message=outcome.error_message,
    )


def _of_death(task: Task, attempt: Attempt | None, reason: DeadReason) -> str:
    """That of the last failure; of a task that died without one, its reason's."""
    known = _last_call(task, attempt).fingerprint
    return known or fingerprint(kind=reason.value, error_type=None, target_url=task.spec.target_url, message=None)


def _follow_up(task: Task, ending: Ending, attempt: Attempt | None) -> FollowUp | None:
    if ending.state is TaskState.SUCCEEDED:
        return task.spec.on_success
    follow_up = task.spec.on_failure
    if ending.state is not TaskState.DEAD or follow_up is None:
        return None
    return follow_up if not follow_up.match or matches(follow_up.match, _facts(task, ending, attempt)) else None


def _facts(task: Task, ending: Ending, attempt: Attempt | None) -> Facts:
    """Of a death: the last call's, but the worst partial work of all."""
    last = _last_call(task, attempt)
    return Facts(
        cls=ending.cls or "",
        status=last.status,
        error_type=last.error_type,
        partial=ending.worst_partial,
        reason=ending.reason.value if ending.reason else None,
    )


def _last_call(task: Task, attempt: Attempt | None) -> _Call:
    """Of the task's target, whoever was asked since; a claimed task does not bring its earlier attempts."""
    asking = task.progress.memory.asking
    if asking is not None:
        return _Call(asking.status, asking.error_type, asking.fingerprint)
    last = attempt or task.last_attempt
    if last is None or last.kind is not AttemptKind.CALL:
        return _Call()
    response = last.outcome.response
    known = last.fingerprint or _of_failure(task, last.outcome)
    return _Call(response.status if response else None, last.outcome.error_type, known)


def _attempt_events(attempt: Attempt | None) -> tuple[WebhookEvent, ...]:
    if attempt is None or attempt.kind is not AttemptKind.CALL or attempt.outcome.cls.name in _NOT_FAILURES:
        return ()
    return (WebhookEvent.ATTEMPT_FAILED,)


def _asked(task: Task, events: tuple[WebhookEvent, ...]) -> tuple[WebhookEvent, ...]:
    if task.spec.webhook_url is None or task.spec.kind is not Kind.TASK:
        return ()
    return tuple(event for event in events if event in task.spec.webhook_events)
