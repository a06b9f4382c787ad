"""A death for whose sake other tasks of its ordering key wait, and what can be done about it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from taskqueue.core.queue import OnDeath
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import DeadLetterId, TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The death of a task with an ordering key, while it keeps its place among the others of the key."""

    queue: str
    ordering_key: str
    on_death: OnDeath  # block, or park: until those behind it are parked
    task_id: TaskId
    dead_letter_id: DeadLetterId
    since: datetime
    waiting: int  # tasks behind it, as far as they were counted
    capped: bool  # there are more than were counted


class BlockResource(TypedDict):
    """What blocks an ordering key."""

    orderingKey: str
    onDeath: str  # block: until the death is resolved; park: until those behind it are parked, which is under way
    taskId: str  # the task that died
    deadLetterId: str
    since: str
    waiting: int  # tasks behind it
    capped: bool  # more wait than were counted


def block_resource(block: Block) -> BlockResource:
    """``block`` as the API shows it."""
    return {
        "orderingKey": block.ordering_key,
        "onDeath": block.on_death.value,
        "taskId": str(block.task_id),
        "deadLetterId": str(block.dead_letter_id),
        "since": rfc3339(block.since),
        "waiting": block.waiting,
        "capped": block.capped,
    }


def of_held(block: Block) -> str:
    """What a task of the same key waits for, as a clause."""
    died = f"task {block.task_id} of its ordering key, which died at {rfc3339(block.since)}"
    if block.on_death is OnDeath.PARK:
        return f"{died}: what waited then is being parked, and what came later starts when that is done"
    return f"{died} and blocks the key until its dead letter is redriven or deleted (onDeath is block)"


def of_dead(block: Block) -> str:
    """What the death means for the others of its key, as a sentence."""
    many = f"more than {block.waiting}" if block.capped else str(block.waiting) if block.waiting else "no"
    waiting = f"{many} task{' waits' if block.waiting == 1 and not block.capped else 's wait'} behind it"
    if block.on_death is OnDeath.PARK:
        return f"Those of its ordering key that waited then are being parked: {waiting}."
    return f"It blocks its ordering key: {waiting}."


def to_resolve(block: Block) -> list[str]:
    """The commands that end it."""
    name = shlex.quote(block.ordering_key)
    unblock = f"taskqueue queues unblock {block.queue} {'-- ' if name.startswith('-') else ''}{name}"
    if block.on_death is OnDeath.PARK:
        return [f"To stop parking and let the others of its ordering key go on, run: {unblock}"]
    return [
        f"To run task {block.task_id} again before the others of its ordering key, run:"
        f" taskqueue dead redrive {block.dead_letter_id}",
        f"To let the others of its ordering key go on without it, run: {unblock}",
    ]
