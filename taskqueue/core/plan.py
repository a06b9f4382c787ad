"""What would follow if further attempts failed: the real decisions, stepped over a task in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from taskqueue.core import retry
from taskqueue.core.answer import steered
from taskqueue.core.asking import answer_of
from taskqueue.core.lifecycle import decide, expire
from taskqueue.core.outcome import CLASSES, Outcome, Partial, Phase, Response
from taskqueue.core.pattern import UNMATCHED
from taskqueue.core.reason import DeadReason
from taskqueue.core.reconcile import Answer
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import (
    Attempt,
    AttemptId,
    AttemptKind,
    Ending,
    Lease,
    LeaseToken,
    Task,
    TaskId,
    TaskSpec,
    TaskState,
)
from taskqueue.core.terms import Limits
from taskqueue.core.webhook import settled

MAX_STEPS = 500
FALLBACK = "server_error"  # what a task that has not failed yet is supposed to end in
_NOBODY = UUID(int=0)
# The status that an answer of each class may have had; classes that are not here come without an answer.
STATUSES: Mapping[str, int] = {
    **{"success": 200, "truncated_response": 200, "redirect": 302, "bad_request": 400, "unauthorized": 401},
    **{"not_found": 404, "gone": 410, "too_large": 413, "request_timeout": 408, "conflict": 409, "too_early": 425},
    **{"throttled": 429, "aborted": 489, "server_error": 500, "bad_gateway": 502, "unavailable": 503},
    **{"gateway_timeout": 504, "verdict_retry": 200, "verdict_fail": 200, "verdict_defer": 200, "service_error": 500},
    **{"function_config": 404, "function_not_ready": 409},
    **dict.fromkeys(("function_handled_error", "function_error", "function_timeout", "function_out_of_memory"), 200),
    **dict.fromkeys(("function_crashed", "function_init_failed", "function_bad_result"), 200),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt of a course of events, and what it was supposed to end in: a class, or the answer to an ask."""

    number: int
    kind: AttemptKind
    at: datetime
    outcome: str
    charged: bool


@dataclass(frozen=True, slots=True)
class Course:
    """One course of events; without an ending it would go on."""

    steps: tuple[Step, ...]
    ending: Ending | None


@dataclass(frozen=True, slots=True)
class Window:
    """When something would happen: with the shortest waits, with middling ones, with the longest.

    ``None`` where the task would have given up before.
    """

    earliest: datetime
    expected: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class Planned:
    """An attempt to come, as far as it is known."""

    number: int
    kind: AttemptKind
    outcome: str
    charged: bool
    window: Window


@dataclass(frozen=True, slots=True)
class Plan:
    """The attempts to come, and how it ends: without a state they go on and on, until the task expires."""

    attempts: tuple[Planned, ...]
    state: TaskState | None = None
    reason: DeadReason | None = None
    ends: Window | None = None


def plan(
    task: Task,
    outcomes: Sequence[Outcome],
    *,
    now: datetime,
    limits: Limits,
    slow: bool,
    answer: Answer | None = Answer.NOT_DONE,
) -> Plan:
    """The attempts to come if they end in ``outcomes``, one after the other, and all further ones in the last of them.

    The latest times are those of attempts that take all their time if ``slow``, else all fail as soon as they begin.
    ``answer`` as for a ``course``.
    """
    shortest = course(task, outcomes, now=now, jitter=0.0, limits=limits, answer=answer)
    middling = course(task, outcomes, now=now, jitter=0.5, limits=limits, answer=answer)
    longest = course(task, outcomes, now=now, jitter=1.0, limits=limits, slow=slow, answer=answer)
    attempts = [
        Planned(first.number, first.kind, first.outcome, first.charged, _window(index, shortest, middling, longest))
        for index, first in enumerate(shortest.steps)
    ]
    if shortest.ending is None or middling.ending is None or longest.ending is None:
        return Plan(tuple(attempts))
    ends = sorted(each.ending.finished_at for each in (shortest, middling, longest) if each.ending)
    return Plan(tuple(attempts), middling.ending.state, middling.ending.reason, Window(*ends))


def course(
    task: Task,
    outcomes: Sequence[Outcome],
    *,
    now: datetime,
    jitter: float,
    limits: Limits,
    slow: bool = False,
    answer: Answer | None = Answer.NOT_DONE,
) -> Course:
    """One course of events from ``now``: waits are drawn with ``jitter``, attempts take no time or, if ``slow``, all.

    An attempt that is under way ends like the first of ``outcomes`` and is no step. Whoever is asked whether work was
    done gives ``answer``, or ``None`` that can be used.
    """
    supposed, said, steps = _supposed(outcomes), _said(answer), list[Step]()
    while len(steps) < MAX_STEPS:
        begun = task.state is TaskState.RUNNING
        if not begun:
            at = max(now, task.not_before or now)
            if at >= task.expires_at:
                return Course(tuple(steps), expire(task, now=max(now, task.expires_at)).ending)
            task, now = _started(task, at), at
        settlement = _finished(task, supposed, said, now=now, jitter=jitter, limits=limits, slow=slow)
        attempt = settlement.attempt
        assert attempt is not None, "an attempt that was made is on record"
        if not begun:
            steps.append(_step(attempt))
        if settlement.ending is not None:
            return Course(tuple(steps), settlement.ending)
        now = attempt.finished_at
        task = settled(settlement, now=now)
    return Course(tuple(steps), None)


def worst_case(
    task: Task,
    outcomes: Sequence[Outcome],
    *,
    now: datetime,
    limits: Limits,
    answer: Answer | None = Answer.NOT_DONE,
) -> timedelta:
    """Until the task has ended, with the longest waits and attempts that take all their time.

    What only its expiry ends may be in an attempt then, which began in time.
    """
    longest = course(task, outcomes, now=now, jitter=1.0, limits=limits, slow=True, answer=answer)
    if longest.ending is None or longest.ending.reason is DeadReason.EXPIRED:
        return task.expires_at + task.spec.timeout - now
    return longest.ending.finished_at - now


def unsubmitted(spec: TaskSpec, *, expires_in: timedelta, now: datetime) -> Task:
    """A task as it would stand if it were submitted ``now``."""
    return Task(
        id=TaskId(_NOBODY),
        spec=spec,
        created_at=now,
        run_at=now,
        expires_at=now + expires_in,
        state=TaskState.QUEUED,
        not_before=now,
    )


def supposed_outcome(name: str, *, retry_after: timedelta | None = None, error_type: str = "Supposed") -> Outcome:
    """An outcome as attempts of the class ``name`` commonly have it; ``retry_after`` is what the answer asks for."""
    cls, status = CLASSES[name], STATUSES.get(name)
    message = f"supposed to end as {name}"
    if status is None:
        phase = Phase.SENT if cls.partial > Partial.NO else Phase.NONE
        return Outcome(cls=cls, phase=phase, error_type=error_type, error_message=message)
    headers = (("retry-after", f"{retry_after.total_seconds():f}"),) if retry_after is not None else ()
    response = Response(status=status, headers=headers)
    return Outcome(cls=cls, phase=Phase.BODY, response=response, error_type=error_type, error_message=message)


def likely_outcome(task: Task) -> Outcome:
    """How the next attempt of ``task`` would fail if it failed like the last one that did."""
    last, previous = task.last_attempt, task.progress.memory.previous
    if last is not None and last.kind is AttemptKind.CALL and last.outcome.cls.name not in UNMATCHED:
        return _again(last)
    if previous is not None and previous in CLASSES and previous not in UNMATCHED:
        return supposed_outcome(previous)
    return supposed_outcome(FALLBACK)


def _again(attempt: Attempt) -> Outcome:
    """The outcome of ``attempt`` as if it came once more: a wait that ended at some instant is as long as it was."""
    outcome = steered(attempt.outcome)
    if outcome.response is None:
        return outcome
    named = retry.named_wait(outcome, attempt.finished_at)
    headers = (("retry-after", f"{named.total_seconds():f}"),) if named is not None else ()
    return replace(outcome, response=replace(outcome.response, headers=headers))


def _supposed(outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    yield from outcomes
    while True:
        yield outcomes[-1]


def _said(answer: Answer | None) -> Outcome:
    """The outcome of asking whether work was done."""
    if answer is None:
        return supposed_outcome("connect_refused")
    body = b'{"state":"%s"}' % answer.encode()
    return Outcome(cls=CLASSES["success"], phase=Phase.BODY, response=Response(status=200, body=body))


def _started(task: Task, at: datetime) -> Task:
    lease = Lease(task.spec.project, task.id, LeaseToken(_NOBODY), AttemptId(_NOBODY))
    progress = replace(task.progress, number=task.progress.number + 1, seq=task.progress.seq + 1)
    return replace(
        task, state=TaskState.RUNNING, progress=progress, lease=lease, started_at=at, not_before=None, held=False
    )


def _finished(
    task: Task, supposed: Iterator[Outcome], said: Outcome, *, now: datetime, jitter: float, limits: Limits, slow: bool
) -> Settlement:
    """What becomes of a running task whose attempt ends now or, if ``slow``, when its time is up."""
    asks = task.progress.memory.asking is not None
    outcome = said if asks else next(supposed)
    if slow and task.started_at is not None:
        now = max(now, task.started_at + _longest(task, asks=asks))
    return decide(task, outcome, now=now, jitter=jitter, limits=limits)


def _longest(task: Task, *, asks: bool) -> timedelta:
    asked = task.spec.policy.reconcile
    return asked.timeout if asks and asked is not None else task.spec.timeout


def _step(attempt: Attempt) -> Step:
    outcome = answer_of(attempt) if attempt.kind is AttemptKind.RECONCILE else attempt.outcome.cls.name
    return Step(attempt.number, attempt.kind, attempt.started_at, outcome, attempt.charged)


def _window(index: int, shortest: Course, middling: Course, longest: Course) -> Window:
    expected, latest = (each.steps[index].at if index < len(each.steps) else None for each in (middling, longest))
    return Window(shortest.steps[index].at, expected, latest)
