"""Which state may follow which, and what one outcome makes of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from taskqueue.core import reconcile, retry
from taskqueue.core.errors import Conflict
from taskqueue.core.memory import Asking
from taskqueue.core.outcome import CLASSES, Charge, Outcome
from taskqueue.core.policy import OnUnknown
from taskqueue.core.reason import DeadReason
from taskqueue.core.settlement import Settlement, closed, ended, waiting
from taskqueue.core.task import Attempt, AttemptKind, Progress, Task, TaskState
from taskqueue.core.terms import Limits, Terms

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.DEAD, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset({TaskState.QUEUED, TaskState.SUCCEEDED, TaskState.DEAD, TaskState.CANCELLED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.DEAD: frozenset({TaskState.QUEUED}),  # a redrive
    TaskState.CANCELLED: frozenset(),
}


def decide(task: Task, outcome: Outcome, *, now: datetime, jitter: float, limits: Limits) -> Settlement:
    """What ``outcome`` makes of a running task. ``jitter`` is drawn from [0, 1]; nothing here waits or writes."""
    if task.progress.memory.asking is not None:
        return _decide_asked(task, task.progress.memory.asking, outcome, now=now, jitter=jitter)
    terms = Terms.of(task, outcome, named=_named(outcome, now))
    attempt = closed(task, outcome, now=now, charged=terms.charge is Charge.YES, kind=AttemptKind.CALL)
    progress = terms.counted(task.progress, now=now, fingerprint=attempt.fingerprint)
    if outcome.cls.name == "success":
        return _end(task, progress, now=now, state=TaskState.SUCCEEDED, attempt=attempt)
    reason = terms.reason_to_die(task, progress, limits)
    wait = terms.wait(progress, jitter=jitter)
    if reason is None and (last := terms.last_start(progress)) is not None and now + wait > last:
        reason = DeadReason.EXHAUSTED
    if now + wait >= task.expires_at:
        return _end(task, progress, now=now, state=TaskState.DEAD, reason=reason or DeadReason.EXPIRED, attempt=attempt)
    if reconcile.wanted(task, outcome):
        # Asked when the retry would have begun: until then the work may still be going on.
        asking = replace(progress, memory=progress.memory.asks(Asking(then=reason)))
        return waiting(task, asking, wait=wait, attempt=attempt)
    if reason is not None:
        return _end(task, progress, now=now, state=TaskState.DEAD, reason=reason, attempt=attempt)
    return waiting(task, progress, wait=wait, attempt=attempt)


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
        if task.progress.memory.asking is not None:
            attempt = closed(task, outcome, now=now, charged=False, kind=AttemptKind.RECONCILE)
        else:
            attempt = closed(task, outcome, now=now, charged=True, kind=AttemptKind.CALL)
            progress = Terms.of(task, outcome, named=None).counted(task.progress, now=now, fingerprint=None)
    return _end(task, progress, now=now, state=TaskState.CANCELLED, attempt=attempt)


def redriven(progress: Progress) -> Progress:
    """The counters of a dead task that starts over: a new generation; only ``seq`` goes on."""
    return Progress(generation=progress.generation + 1, seq=progress.seq + 1)


def require(state: TaskState, following: TaskState) -> None:
    """Raise ``Conflict`` unless ``following`` may come after ``state``."""
    if following not in TRANSITIONS[state]:
        raise Conflict(f"the task is {state}; it cannot become {following}")


def _decide_asked(task: Task, asking: Asking, outcome: Outcome, *, now: datetime, jitter: float) -> Settlement:
    """What the answer of the reconcile URL makes of a task whose last attempt may have done the work."""
    reading = reconcile.read(outcome)
    attempt = closed(task, reading.outcome, now=now, charged=False, kind=AttemptKind.RECONCILE)
    answered = replace(
        task.progress,
        seq=task.progress.seq + 1,
        deferred=task.progress.deferred + 1,
        memory=task.progress.memory.asks(None),
    )
    if reading.answer is reconcile.Answer.DONE:
        return _end(task, answered, now=now, state=TaskState.SUCCEEDED, attempt=attempt)
    if reading.answer is None and asking.failures + 1 < reconcile.MAX_FAILURES:
        wait = reconcile.BACKOFF.delay(asking.failures + 1, jitter=jitter)
        if now + wait < task.expires_at:
            again = answered.memory.asks(Asking(asking.then, asking.failures + 1))
            return waiting(task, replace(answered, memory=again), wait=wait, attempt=attempt)
    reason = asking.then
    if reading.answer is not reconcile.Answer.NOT_DONE:
        reason = _reason_unknown(task, asking)
    if reason is None:
        return waiting(task, answered, wait=timedelta(0), attempt=attempt)
    return _end(task, answered, now=now, state=TaskState.DEAD, reason=reason, attempt=attempt)


def _reason_unknown(task: Task, asking: Asking) -> DeadReason | None:
    policy = task.spec.policy.reconcile
    assert policy is not None, "only a task that says whom to ask is asked about"
    match policy.on_unknown:
        case OnUnknown.HOLD:
            return DeadReason.UNCERTAIN
        case OnUnknown.FAIL:
            return asking.then or DeadReason.REJECTED
        case _:
            return asking.then


def _named(outcome: Outcome, now: datetime) -> timedelta | None:
    return retry.retry_after(outcome.retry_after, now) if outcome.retry_after is not None else None


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
    return ended(task, progress, now=now, state=state, attempt=attempt, reason=reason)
