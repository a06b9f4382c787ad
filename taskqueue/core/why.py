"""Why a task is where it is, in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskqueue.core import death, named_wait, order_block
from taskqueue.core.asking import Asked, asked
from taskqueue.core.guidance import error_in_words, in_words, times
from taskqueue.core.held_back import HeldBack
from taskqueue.core.judgement import by_verdict, meaning
from taskqueue.core.lambda_function import is_event
from taskqueue.core.order_block import Block
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Attempt, AttemptKind, Ending, Task, TaskId, TaskState
from taskqueue.core.terms import Limits

# A worker that is free takes a due task much sooner than this.
PATIENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a task's own record does not say."""

    lane_head: TaskId | None = None  # of a held task: the one that is first under its ordering key
    block: Block | None = None  # of a held task: the death it waits for; of a dead one: what its own death blocks
    lease_until: datetime | None = None  # of a running one
    held_back: Sequence[HeldBack] = ()  # of a waiting one: the limits that let nothing start now
    compensation_id: TaskId | None = None  # of a dead one: what was submitted because of its death
    attempts: Sequence[Attempt] = ()  # all that this generation has closed, oldest first
    chain: Sequence[Task] = ()  # of one that has ended: the task with all that follow from the same first one


def why(task: Task, *, now: datetime, standing: Standing, limits: Limits) -> str:
    """One or two sentences."""
    match task.state:
        case TaskState.QUEUED:
            return _why_waiting(task, now, standing)
        case TaskState.RUNNING:
            return _why_running(task, now, standing)
        case TaskState.SUCCEEDED:
            return _why_succeeded(task)
        case TaskState.DEAD:
            return _why_dead(task, standing, limits)
        case _:
            return f"It was cancelled at {_ended_at(task)}{_attempts_before(task)}."


def due_at(task: Task, now: datetime) -> datetime:
    """When a waiting task may start."""
    return task.not_before or now


def cut_off_at(task: Task, now: datetime) -> datetime:
    """When the attempt under way ends at the latest."""
    asked, asks = task.spec.policy.reconcile, task.progress.memory.asking is not None
    longest = asked.timeout if asks and asked is not None else task.spec.timeout
    return max(now, begun_at(task) + longest)


def begun_at(task: Task) -> datetime:
    """When the attempt under way began."""
    assert task.started_at is not None, "a running task has begun an attempt"
    return task.started_at


def ended(task: Task) -> Ending:
    """How a task ended that did."""
    assert task.ending is not None, "a task that has ended has an ending"
    return task.ending


def lapsed(standing: Standing, now: datetime) -> bool:
    """Whether the worker of a running task has been silent for too long."""
    return standing.lease_until is not None and standing.lease_until <= now


def _why_waiting(task: Task, now: datetime, standing: Standing) -> str:
    if task.expires_at <= now:
        return f"It expired at {rfc3339(task.expires_at)}; no attempt starts any more, and it will be dead in a moment."
    if task.held and standing.block is not None:
        return f"It waits behind {order_block.of_held(standing.block)}."
    if task.held:
        head = f"task {standing.lane_head}" if standing.lane_head else "an older task"
        return f"It waits behind {head} of its ordering key, which has to end first."
    due = due_at(task, now)
    if due <= now and standing.held_back:
        return f"It is due, but {standing.held_back[0].detail}."
    last = task.last_attempt
    if task.progress.memory.asking is not None:
        return (
            f"The last call ended as {task.progress.memory.previous}, so the work may have been done: before anything"
            f" else happens the reconcile URL is asked{_so_far(asked(task, standing.attempts))}, {_when(due, now)}."
        )
    if last is not None:
        ended_as = f"{last.outcome.cls.name} ({meaning(last.outcome)})"
        wish = named_wait.wish(last)
        told = f"{ended_as}, and the target {wish}" if wish is not None else ended_as
        return f"Attempt {last.number} ended as {told}; the next one starts {_when(due, now)}."
    if due > now:
        return f"It was asked to start no earlier than {rfc3339(due)}, which is in {in_words(due - now)}."
    return f"It is due {_when(due, now)}."


def _so_far(found: Asked | None) -> str:
    return f" again (so far {times(found['times'])}, last answer: {found['lastAnswer']})" if found else ""


def _when(due: datetime, now: datetime) -> str:
    if due > now:
        return f"at {rfc3339(due)}, in {in_words(due - now)}"
    late = now - due
    return f"as soon as a worker is free{f'; it has been due for {in_words(late)}' if late > PATIENCE else ''}"


def _why_running(task: Task, now: datetime, standing: Standing) -> str:
    number, worker = task.progress.number, task.worker or "a worker"
    if lapsed(standing, now):
        return (
            f"Attempt {number} was under way at {worker}, which has not extended its lease in time; in a moment the"
            " attempt counts as worker_lost."
        )
    asks = task.progress.memory.asking is not None
    begun = rfc3339(begun_at(task))
    does = "asks the reconcile URL whether the work was done" if asks else "is under way"
    return f"Attempt {number} {does} at {worker}, since {begun} and until {rfc3339(cut_off_at(task, now))}."


def _why_succeeded(task: Task) -> str:
    last, at = task.last_attempt, _ended_at(task)
    if last is None:  # its attempts are past their retention
        return f"It succeeded at {at}."
    if last.kind is AttemptKind.RECONCILE:
        return f"The reconcile URL said at {at} that the work was done."
    answer = f" with status {last.outcome.response.status}" if last.outcome.response else ""
    if by_verdict(last.outcome):
        answer += ", which a verdict of the task calls a success"
    if is_event(task.spec.target_url):
        return f"Lambda took the event of attempt {last.number} at {at}; whether the function ran is not known here."
    return f"The target answered attempt {last.number}{answer}; the task succeeded at {at}."


def _why_dead(task: Task, standing: Standing, limits: Limits) -> str:
    ending, last = ended(task), task.last_attempt
    attempts = standing.attempts or ((last,) if last is not None else ())
    found = asked(task, attempts)
    because = death.because(task, ending, attempts=attempts, asked=found, limits=limits)
    told = f"It died at {_ended_at(task)} ({ending.reason}): {because}{_attempts_before(task)}."
    if standing.block is not None:
        told += f" {order_block.of_dead(standing.block)}"
    if ending.cls is None:
        return told
    message = error_in_words(last.outcome.error_type, last.outcome.error_message) if last is not None else None
    return f"{told} The last call ended as {ending.cls}{f': {message}' if message else ''}."


def _attempts_before(task: Task) -> str:
    number = task.progress.number
    if number == 0:
        return ", before its first attempt"
    return f", after {'one attempt' if number == 1 else f'{number} attempts'}"


def _ended_at(task: Task) -> str:
    return rfc3339(ended(task).finished_at)
