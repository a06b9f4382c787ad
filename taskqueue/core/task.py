"""What a task is: as submitted, as it stands, and as it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from taskqueue.core.memory import NO_MEMORY, Memory
from taskqueue.core.outcome import Outcome, Partial
from taskqueue.core.policy import NO_POLICY, Policy
from taskqueue.core.reason import DeadReason
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


class AttemptKind(StrEnum):
    """Whom an attempt called."""

    CALL = "call"  # the target
    RECONCILE = "reconcile"  # whoever knows whether the target did the work


class WebhookEvent(StrEnum):
    """What a caller may be told."""

    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    ATTEMPT_FAILED = "attemptFailed"


ENDINGS_TOLD = frozenset({WebhookEvent.SUCCEEDED, WebhookEvent.DEAD, WebhookEvent.CANCELLED})


@dataclass(frozen=True, slots=True)
class Cause:
    """The state change a webhook tells of; unique, so that no change is told twice."""

    task_id: TaskId
    generation: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A task to submit in the transaction that ends another one."""

    task: NewTask  # its body is made then, unless it has one of its own
    match: tuple[str, ...] = ()  # patterns the death must match; none: any death


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
    policy: Policy = NO_POLICY
    on_failure: FollowUp | None = None
    on_success: FollowUp | None = None
    parent_id: TaskId | None = None  # of a follow-up: the task it follows
    root_id: TaskId | None = None  # and the first of their chain
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
    kind: AttemptKind = AttemptKind.CALL
    outcome: Outcome
    charged: bool
    started_at: datetime
    finished_at: datetime
    worker: str
    fingerprint: str | None = None  # of a failure


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
