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
    terms = Terms.of(task, outcome, named=retry.named_wait(outcome, now))
    attempt = closed(task, outcome, now=now, charged=terms.charge is Charge.YES, kind=AttemptKind.CALL)
    progress = terms.counted(task.progress, now=now, fingerprint=attempt.fingerprint)
    if outcome.cls.name == "success":
        return ended(task, progress, now=now, state=TaskState.SUCCEEDED, attempt=attempt)
    reason = terms.reason_to_die(task, progress, limits)
    wait = terms.wait(progress, jitter=jitter)
    if reason is None and (last := terms.last_start(progress)) is not None and now + wait > last:
        reason = DeadReason.EXHAUSTED
    uncertain = reconcile.wanted(task, outcome)
    if now + wait >= task.expires_at:
        reason = _reason_unasked(task, reason) if uncertain else reason or DeadReason.EXPIRED
        return ended(task, progress, now=now, state=TaskState.DEAD, reason=reason, attempt=attempt)
    if uncertain:
        # Asked when the retry would have begun: until then the work may still be going on.
        asking = replace(progress, memory=progress.memory.asks(_asking(attempt, reason)))
        return waiting(task, asking, wait=wait, attempt=attempt)
    if reason is not None:
        return ended(task, progress, now=now, state=TaskState.DEAD, reason=reason, attempt=attempt)
    return waiting(task, progress, wait=wait, attempt=attempt)


def expire(task: Task, *, now: datetime) -> Settlement:
    """The death of a queued task whose expiry has passed."""
    require(task.state, TaskState.DEAD)
    progress, asking = replace(task.progress, seq=task.progress.seq + 1), task.progress.memory.asking
    reason = _reason_unasked(task, asking.then) if asking is not None else DeadReason.EXPIRED
    return ended(task, progress, now=now, state=TaskState.DEAD, reason=reason, attempt=None)


def park(task: Task, *, now: datetime) -> Settlement:
    """The death of a queued task that waits behind a dead one of its ordering key, where the queue parks such tasks."""
    require(task.state, TaskState.DEAD)
    progress = replace(task.progress, seq=task.progress.seq + 1)
    return ended(task, progress, now=now, state=TaskState.DEAD, reason=DeadReason.PARKED, attempt=None)


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
            progress = _asked(task.progress)
        else:
            attempt = closed(task, outcome, now=now, charged=True, kind=AttemptKind.CALL)
            progress = Terms.of(task, outcome, named=None).counted(task.progress, now=now, fingerprint=None)
    return ended(task, progress, now=now, state=TaskState.CANCELLED, attempt=attempt)


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
    answered = _asked(task.progress)
    if outcome.cls.name == "released":  # the worker stopped before anybody was asked
        return waiting(task, _asking_again(answered, asking), wait=timedelta(0), attempt=attempt)
    if reading.answer is reconcile.Answer.DONE:
        done = replace(answered, memory=replace(answered.memory, previous=reading.outcome.cls.name))
        return ended(task, done, now=now, state=TaskState.SUCCEEDED, attempt=attempt)
    if reading.answer is None and asking.failures + 1 < reconcile.MAX_FAILURES:
        left = task.expires_at - now
        if left > timedelta(0):
            wait = reconcile.wait(outcome, asking.failures + 1, left=left, now=now, jitter=jitter)
            again = _asking_again(answered, replace(asking, failures=asking.failures + 1))
            return waiting(task, again, wait=wait, attempt=attempt)
    reason = asking.then
    if reading.answer is not reconcile.Answer.NOT_DONE:
        reason = _reason_unknown(task, asking)
    if reason is None:
        return waiting(task, answered, wait=timedelta(0), attempt=attempt)
    return ended(task, answered, now=now, state=TaskState.DEAD, reason=reason, attempt=attempt)


def _asking(attempt: Attempt, then: DeadReason | None) -> Asking:
    """What to ask about a call that has just closed."""
    outcome = attempt.outcome
    status = outcome.response.status if outcome.response else None
    return Asking(then, status=status, error_type=outcome.error_type, fingerprint=attempt.fingerprint)


def _asked(progress: Progress) -> Progress:
    """The counters once an attempt has asked: it is one more on record, and free."""
    return replace(progress, seq=progress.seq + 1, deferred=progress.deferred + 1, memory=progress.memory.asks(None))


def _asking_again(answered: Progress, asking: Asking) -> Progress:
    return replace(answered, memory=answered.memory.asks(asking))


def _reason_unknown(task: Task, asking: Asking) -> DeadReason | None:
    match _on_unknown(task):
        case OnUnknown.HOLD:
            return DeadReason.UNCERTAIN
        case OnUnknown.FAIL:
            return asking.then or DeadReason.REJECTED
        case _:
            return asking.then


def _reason_unasked(task: Task, then: DeadReason | None) -> DeadReason:
    """Why a task dies that has no time left to ask."""
    return DeadReason.UNCERTAIN if _on_unknown(task) is OnUnknown.HOLD else then or DeadReason.EXPIRED


def _on_unknown(task: Task) -> OnUnknown:
    policy = task.spec.policy.reconcile
    # None: a newer version wrote it, and this one cannot read whom to ask.
    return OnUnknown.RETRY if policy is None else policy.on_unknown
