"""What a task is: as submitted, as it stands, and as it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from taskqueue.core.outcome import Outcome, Partial
from taskqueue.core.retry import Backoff

TaskId = NewType("TaskId", UUID)
AttemptId = NewType("AttemptId", UUID)
LeaseToken = NewType("LeaseToken", UUID)
DeadLetterId = NewType("DeadLetterId", UUID)

DEFAULT_PROJECT = "default"
DEFAULT_QUEUE = "default"
WEBHOOK_QUEUE = "$webhooks"  # the sign keeps it out of reach of user queues, which must start with a letter or digit
DEFAULT_RETRIES = 3
DEFAULT_TIMEOUT = timedelta(seconds=30)
DEFAULT_EXPIRY = timedelta(days=7)
DEFAULT_PRIORITY = 5


class TaskState(StrEnum):
    """The five states the store knows; "scheduled" and "retrying" are labels computed from a queued task."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (TaskState.SUCCEEDED, TaskState.DEAD, TaskState.CANCELLED)


class Kind(StrEnum):
    """Why a task exists: somebody submitted it, or it tells somebody how another one ended."""

    TASK = "task"
    WEBHOOK = "webhook"


class WebhookEvent(StrEnum):
    """What a caller may be told."""

    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    ATTEMPT_FAILED = "attemptFailed"


ENDINGS_TOLD = frozenset({WebhookEvent.SUCCEEDED, WebhookEvent.DEAD, WebhookEvent.CANCELLED})


class DeadReason(StrEnum):
    """Why a task died."""

    EXHAUSTED = "exhausted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    LOST = "lost"
    POISON = "poison"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Cause:
    """The state change a webhook tells of; unique, so that no change is told twice."""

    task_id: TaskId
    generation: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """What was asked for and never changes, but by an edited redrive."""

    target_url: str
    origin: str  # scheme://host:port, the port always named
    target_host: str
    project: str = DEFAULT_PROJECT
    kind: Kind = Kind.TASK
    queue: str = DEFAULT_QUEUE
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None  # delivered byte for byte
    content_type: str | None = None
    webhook_url: str | None = None
    webhook_events: frozenset[WebhookEvent] = ENDINGS_TOLD
    retries: int = DEFAULT_RETRIES
    timeout: timedelta = DEFAULT_TIMEOUT
    backoff: Backoff | None = None  # None: the outcome class decides
    priority: int = DEFAULT_PRIORITY
    ordering_key: str | None = None
    flow_key: str | None = None
    labels: tuple[str, ...] = ()
    metadata: bytes | None = None  # a JSON text of at most 4 KB, kept verbatim
    traceparent: str | None = None  # of the submit request
    cause: Cause | None = None  # of a webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A validated submission. Relative times are resolved by the store, on the database's clock."""

    spec: TaskSpec
    run_at: datetime | None = None  # wins over delay
    delay: timedelta = timedelta(0)
    expires_at: datetime | None = None  # wins over expires_in
    expires_in: timedelta | None = None  # from the submit; None: DEFAULT_EXPIRY after run_at


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to settle one attempt. Void once the token in the store differs."""

    project: str
    task_id: TaskId
    token: LeaseToken
    attempt_id: AttemptId


@dataclass(frozen=True, slots=True)
class Memory:
    """What later decisions need of earlier attempts; a small blob in the hot row."""

    failures: Mapping[str, int] = field(default_factory=dict)  # outcomes so far, by class
    deferrals: int = 0  # in a row
    worst_partial: Partial = Partial.NO
    previous: str | None = None  # class of the attempt before

    def encode(self) -> bytes | None:
        """As stored; ``None`` for a task that has no past."""
        if self == NO_MEMORY:
            return None
        past = {"f": dict(self.failures), "d": self.deferrals, "w": int(self.worst_partial), "p": self.previous}
        return json.dumps(past, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, blob: bytes | None) -> Memory:
        if blob is None:
            return NO_MEMORY
        past = json.loads(blob)
        return cls(failures=past["f"], deferrals=past["d"], worst_partial=Partial(past["w"]), previous=past["p"])


NO_MEMORY = Memory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The counters of a living task, within its generation but for ``seq``, which counts every state change ever."""

    generation: int = 1
    seq: int = 1
    number: int = 0  # attempts started
    charged: int = 0  # against retries
    lost: int = 0  # against the lost limit
    deferred: int = 0  # free outcomes, bounded by expiry
    memory: Memory = NO_MEMORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One closed attempt, as it stands on record."""

    id: AttemptId
    number: int
    outcome: Outcome
    charged: bool
    started_at: datetime
    finished_at: datetime
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a generation of a task ended. ``attempt_id`` names the attempt that ended it, if one did."""

    state: TaskState
    finished_at: datetime
    reason: DeadReason | None = None
    cls: str | None = None  # of the last attempt
    worst_partial: Partial = Partial.NO
    attempt_id: AttemptId | None = None
    fingerprint: str | None = None  # of a death


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as the store knows it."""

    id: TaskId
    spec: TaskSpec
    created_at: datetime
    run_at: datetime
    expires_at: datetime
    state: TaskState
    progress: Progress = field(default_factory=Progress)
    not_before: datetime | None = None  # of a queued task
    lease: Lease | None = None  # of a running task
    started_at: datetime | None = None  # of a running task: when its attempt began
    worker: str | None = None  # that holds the lease
    held: bool = False  # waits behind an older task of its ordering key
    ending: Ending | None = None
    last_attempt: Attempt | None = None  # the newest closed one of this generation, where it was asked for
    dead_letter_id: DeadLetterId | None = None  # of this generation's death, unless it was redriven or forgotten
    revision: int | None = None  # the generation whose edited redrive changed what is sent
