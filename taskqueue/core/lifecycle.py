"""Which state may follow which, and what one outcome makes of a task."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from taskqueue.core import retry
from taskqueue.core.errors import Conflict
from taskqueue.core.outcome import CLASSES, Charge, Outcome, OutcomeClass, Partial, Wait
from taskqueue.core.task import (
    Attempt,
    DeadReason,
    Ending,
    Kind,
    Memory,
    Progress,
    Task,
    TaskState,
    WebhookEvent,
)

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.DEAD, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset({TaskState.QUEUED, TaskState.SUCCEEDED, TaskState.DEAD, TaskState.CANCELLED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.DEAD: frozenset({TaskState.QUEUED}),  # a redrive
    TaskState.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator may set about how long a task is kept trying."""

    lost_limit: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What to write, in one transaction, once a task's state changes. Exactly one of ``wait`` and ``ending`` is set."""

    task: Task  # as it stood: its lease (or its having none) is the guard
    progress: Progress  # as it stands after
    attempt: Attempt | None  # the one that closes, if one was open
    wait: timedelta | None = None  # until the next attempt, from the moment of settling
    ending: Ending | None = None
    events: tuple[WebhookEvent, ...] = ()  # what the caller asked to be told of this change

    @property
    def state(self) -> TaskState:
        return TaskState.QUEUED if self.ending is None else self.ending.state


def decide(task: Task, outcome: Outcome, *, now: datetime, jitter: float, limits: Limits) -> Settlement:
    """What ``outcome`` makes of a running task. ``jitter`` is drawn from [0, 1]; nothing here waits or writes."""
    named = retry.retry_after(outcome.retry_after, now) if outcome.retry_after is not None else None
    rule = _Rule.of(task, outcome, named=named)
    progress = _counted(task.progress, outcome, rule)
    attempt = _closed(task, outcome, now=now, charged=rule.charge is Charge.YES)
    if outcome.cls.name == "success":
        return _end(task, progress, now=now, state=TaskState.SUCCEEDED, attempt=attempt)
    reason = _reason_to_die(progress, rule, limits)
    if reason is None:
        wait = _wait(progress, rule, named=named, jitter=jitter)
        if now + wait < task.expires_at:
            return _retry(task, progress, wait=wait, attempt=attempt)
        reason = DeadReason.EXPIRED
    return _end(task, progress, now=now, state=TaskState.DEAD, reason=reason, attempt=attempt)


def expire(task: Task, *, now: datetime) -> Settlement:
    """The death of a queued task whose expiry has passed."""
    progress = replace(task.progress, seq=task.progress.seq + 1)
    return _end(task, progress, now=now, state=TaskState.DEAD, reason=DeadReason.EXPIRED, attempt=None)


def cancel(task: Task, *, now: datetime) -> Settlement:
    """The end of a task somebody called off; a running attempt goes on record as ``cancelled``."""
    require(task.state, TaskState.CANCELLED)
    progress, attempt = replace(task.progress, seq=task.progress.seq + 1), None
    if task.state is TaskState.RUNNING:
        outcome = Outcome(
            cls=CLASSES["cancelled"], error_type="Cancelled", error_message="the task was cancelled while running"
        )
        progress = _counted(task.progress, outcome, _Rule.of(task, outcome, named=None))
        attempt = _closed(task, outcome, now=now, charged=True)
    return _end(task, progress, now=now, state=TaskState.CANCELLED, attempt=attempt)


def redriven(progress: Progress) -> Progress:
    """The counters of a dead task that starts over: a new generation; only ``seq`` goes on."""
    return Progress(generation=progress.generation + 1, seq=progress.seq + 1)


def require(state: TaskState, following: TaskState) -> None:
    """Raise ``Conflict`` unless ``following`` may come after ``state``."""
    if following not in TRANSITIONS[state]:
        raise Conflict(f"the task is {state}; it cannot become {following}")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What this outcome means for this task: the class's row, as the task's kind and the target's word change it."""

    retryable: bool
    max_retries: int | None
    charge: Charge
    backoff: retry.Backoff
    now: bool
    retries: int

    @classmethod
    def of(cls, task: Task, outcome: Outcome, *, named: timedelta | None) -> _Rule:
        """``named`` is the wait that the target asked for, if it did so in words that can be read."""
        row = outcome.cls
        if task.spec.kind is Kind.WEBHOOK:
            return cls._of_webhook(row)
        charge = row.charge
        if charge is Charge.FREE_WITH_RETRY_AFTER:
            charge = Charge.FREE if named is not None else Charge.YES
        return cls(
            retryable=row.retryable or outcome.forced_retry,
            max_retries=row.max_retries,
            charge=charge,
            backoff=retry.backoff_for(row.wait, task.spec.backoff),
            now=row.wait is Wait.NOW,
            retries=task.spec.retries,
        )

    @classmethod
    def _of_webhook(cls, row: OutcomeClass) -> _Rule:
        """A webhook is sent until 2xx or its schedule ends; only 410 and a forbidden address stop it."""
        ours = row.charge is Charge.LOST or row.name in ("released", "local_resource")
        return cls(
            retryable=row.name not in ("gone", "target_forbidden", "cancelled"),
            max_retries=None,
            charge=row.charge if ours else Charge.YES,
            backoff=retry.WEBHOOK,
            now=row.wait is Wait.NOW,
            retries=retry.WEBHOOK_RETRIES,
        )


def _counted(progress: Progress, outcome: Outcome, rule: _Rule) -> Progress:
    memory, name = progress.memory, outcome.cls.name
    free = rule.charge is Charge.FREE
    failures = memory.failures if name == "success" else {**memory.failures, name: memory.failures.get(name, 0) + 1}
    return Progress(
        generation=progress.generation,
        seq=progress.seq + 1,
        number=progress.number,
        charged=progress.charged + (rule.charge is Charge.YES),
        lost=progress.lost + (rule.charge is Charge.LOST),
        deferred=progress.deferred + free,
        memory=Memory(
            failures=failures,
            deferrals=memory.deferrals + 1 if free else 0,
            worst_partial=max(memory.worst_partial, outcome.partial if name != "success" else Partial.NO),
            previous=name,
        ),
    )


def _closed(task: Task, outcome: Outcome, *, now: datetime, charged: bool) -> Attempt:
    assert task.lease is not None, "only a running task has an attempt to close"
    assert task.started_at is not None, "an attempt has a start"
    return Attempt(
        id=task.lease.attempt_id,
        number=task.progress.number,
        outcome=outcome,
        charged=charged,
        started_at=task.started_at,
        finished_at=now,
        worker=task.worker or "",
    )


def _reason_to_die(progress: Progress, rule: _Rule, limits: Limits) -> DeadReason | None:
    if not rule.retryable:
        return DeadReason.REJECTED
    if rule.charge is Charge.LOST:
        return DeadReason.LOST if progress.lost > limits.lost_limit else None
    if rule.charge is Charge.FREE:
        return None
    of_class = progress.memory.failures[progress.memory.previous or ""]
    if rule.max_retries is not None and of_class > rule.max_retries:
        return DeadReason.EXHAUSTED
    return DeadReason.EXHAUSTED if retry.exhausted(progress.charged, retries=rule.retries) else None


def _wait(progress: Progress, rule: _Rule, *, named: timedelta | None, jitter: float) -> timedelta:
    if rule.now:
        return timedelta(0)
    if rule.charge is Charge.FREE:
        return retry.deferral(named, rule.backoff, progress.memory.deferrals, jitter=jitter)
    own = rule.backoff.delay(progress.charged, jitter=jitter)
    if named is None:
        return own
    return max(own, named * (1 + retry.RETRY_AFTER_JITTER * jitter))


def _retry(task: Task, progress: Progress, *, wait: timedelta, attempt: Attempt) -> Settlement:
    return Settlement(
        task=task, progress=progress, attempt=attempt, wait=wait, events=_asked(task, _attempt_events(attempt))
    )


def _end(
    task: Task,
    progress: Progress,
    *,
    now: datetime,
    state: TaskState,
    attempt: Attempt | None,
    reason: DeadReason | None = None,
) -> Settlement:
    require(task.state, state)
    ending = Ending(
        state=state,
        finished_at=now,
        reason=reason,
        cls=progress.memory.previous,
        worst_partial=progress.memory.worst_partial,
        attempt_id=attempt.id if attempt else None,
        fingerprint=_fingerprint(task, attempt or task.last_attempt, reason) if reason else None,
    )
    events = (*_attempt_events(attempt), WebhookEvent(state.value))
    return Settlement(task=task, progress=progress, attempt=attempt, ending=ending, events=_asked(task, events))


_NOT_FAILURES = frozenset({"success", "cancelled", "released"})


def _attempt_events(attempt: Attempt | None) -> tuple[WebhookEvent, ...]:
    failed = attempt is not None and attempt.outcome.cls.name not in _NOT_FAILURES
    return (WebhookEvent.ATTEMPT_FAILED,) if failed else ()


def _asked(task: Task, events: tuple[WebhookEvent, ...]) -> tuple[WebhookEvent, ...]:
    if task.spec.webhook_url is None or task.spec.kind is not Kind.TASK:
        return ()
    return tuple(event for event in events if event in task.spec.webhook_events)


_VARIABLE = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", re.IGNORECASE)


def _fingerprint(task: Task, last: Attempt | None, reason: DeadReason) -> str:
    """Names deaths of the same cause alike: class, error type, target, and the message without its numbers and ids."""
    message, kind, error = "", reason.value, ""
    if last is not None:
        kind, error = last.outcome.cls.name, last.outcome.error_type or ""
        message = _VARIABLE.sub("#", last.outcome.error_message or "")
    parts = "\x1f".join((kind, error, task.spec.target_url.partition("?")[0], message))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:16]
