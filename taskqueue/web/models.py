"""What requests hold, bodies and query parameters alike. The OpenAPI document is made from these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, Raw, UnsetType, field

from taskqueue.core.outcome import CLASSES
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import DEFAULT_PRIORITY, DEFAULT_QUEUE, DEFAULT_RETRIES, Kind, WebhookEvent
from taskqueue.web.fields import about, id_of, one_of, plain_text, raw, span, visible
from taskqueue.web.kinds import (
    DAY,
    YEAR,
    Cursor,
    ExpiresIn,
    FlowKey,
    Headers,
    Host,
    Instant,
    Label,
    Limit,
    MediaType,
    OutcomeClass,
    Priority,
    Queue,
    Retries,
    SoughtQueue,
    Timeout,
    Url,
)
from taskqueue.web.policies import Backoff, DeathPattern, OnLost, PoisonAfter, Reconcile, RetryPolicy
from taskqueue.web.reading import Model
from taskqueue.web.verdicts import Verdicts

MAX_METADATA = 4096
MAX_BATCH = 1000
_YEAR = YEAR.total_seconds()


class Nothing(Model):
    """A request without fields: send `{}` or no body at all."""


class TaskFields(Model):
    """What every task can be given, whoever submits it, and what a queue can give it."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        "callbackUrl": "targetUrl",
        "onCompleteUrl": "webhookUrl",
        "maxRetries": "retries",
        "delayUntil": "runAt",
    }
    NOT_BUILT: ClassVar[frozenset[str]] = frozenset(("redact",))

    target_url: (
        Annotated[Url, about("Where the work is done; required, unless the queue has a default for it")] | UnsetType
    ) = UNSET
    payload: Annotated[Raw, raw("Any JSON value, delivered byte for byte as `application/json`")] | UnsetType = UNSET
    body: Annotated[str, about("A text to deliver instead of `payload`")] | UnsetType = UNSET
    body_base64: Annotated[str, about("Bytes to deliver instead of `payload`, in base64")] | UnsetType = UNSET
    content_type: MediaType | UnsetType = UNSET
    method: Annotated[
        Literal["POST", "PUT", "PATCH", "DELETE", "GET"], about("A GET or DELETE carries no payload or body")
    ] = "POST"
    headers: Headers | UnsetType = UNSET
    webhook_url: Annotated[Url, about("Told once when the task ends")] | UnsetType = UNSET
    webhook_events: (
        Annotated[
            list[WebhookEvent],
            about(
                "What the webhook is told of; by default `succeeded`, `dead` and `cancelled`",
                min_length=1,
                max_length=10,
            ),
        ]
        | UnsetType
    ) = UNSET
    retries: Retries = DEFAULT_RETRIES
    timeout: Timeout | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    retry_policy: RetryPolicy | UnsetType = UNSET
    verdict: Verdicts | UnsetType = UNSET
    reconcile: Reconcile | UnsetType = UNSET
    on_lost: OnLost = "retry"
    poison_after: PoisonAfter | UnsetType = UNSET
    on_failure: Annotated[OnFailure, about("A task to submit if this one dies")] | UnsetType = UNSET
    on_success: Annotated[OnSuccess, about("A task to submit once this one has succeeded")] | UnsetType = UNSET
    delay: Annotated[timedelta, span(0, _YEAR, "Wait this long before the first attempt")] | UnsetType = UNSET
    run_at: Annotated[Instant, about("Start the first attempt no earlier, at most a year ahead")] | UnsetType = UNSET
    expires_in: ExpiresIn | UnsetType = UNSET
    expires_at: Annotated[Instant, about("No attempt starts later than this")] | UnsetType = UNSET
    priority: Priority = DEFAULT_PRIORITY
    ordering_key: (
        Annotated[str, plain_text(256, "Tasks of one key in one queue run one at a time, in the order of acceptance")]
        | UnsetType
    ) = UNSET
    flow_key: FlowKey | UnsetType = UNSET
    labels: Annotated[list[Label], about("For finding tasks again", max_length=16)] = field(default_factory=list)
    metadata: (
        Annotated[Raw, raw(f"A JSON object of at most {MAX_METADATA} bytes, returned in webhooks", type="object")]
        | UnsetType
    ) = UNSET


class QueuedTask(TaskFields):
    """A task that knows its queue, which gives it what it leaves out."""

    queue: Queue = DEFAULT_QUEUE


class FollowUpTask(QueuedTask):
    """A task that is submitted when another one ends. Without a payload or body of its own it is given the other's."""

    REFUSED: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("idempotencyKey", "idempotencyTtl"), "a follow-up is submitted once by itself and has no key; leave it out"
    )


class OnFailure(Model):
    """A task to submit, once, when this one dies."""

    task: Annotated[FollowUpTask, about("It receives the dead task, its attempts and its payload")]
    match: (
        Annotated[
            list[DeathPattern],
            about("Any of these must pick the death; by default every death", min_length=1, max_length=20),
        ]
        | UnsetType
    ) = UNSET


class OnSuccess(Model):
    """A task to submit, once, when this one has succeeded."""

    task: Annotated[FollowUpTask, about("It receives the task, its result and its payload")]


class SubmitTask(QueuedTask):
    """A task to run."""

    idempotency_key: (
        Annotated[str, visible("The same key and body again returns the first task; also as a header")] | UnsetType
    ) = UNSET
    idempotency_ttl: (
        Annotated[timedelta, span(1, 30 * DAY, "How long the idempotency key is kept", default=timedelta(hours=24))]
        | UnsetType
    ) = UNSET


class SubmitBatch(Model):
    """Tasks that are accepted all together or not at all."""

    tasks: Annotated[list[SubmitTask], about("In the order of the answer", min_length=1, max_length=MAX_BATCH)]


class Redrive(Model):
    """What to change before a dead task runs again; everything may be left out."""

    ALIASES: ClassVar[Mapping[str, str]] = {"callbackUrl": "targetUrl", "maxRetries": "retries"}

    target_url: Annotated[Url, about("Where the work is done from now on")] | UnsetType = UNSET
    payload: Annotated[Raw, raw("Any JSON value, delivered byte for byte from now on")] | UnsetType = UNSET
    body: Annotated[str, about("A text to deliver from now on")] | UnsetType = UNSET
    body_base64: Annotated[str, about("Bytes to deliver from now on, in base64")] | UnsetType = UNSET
    content_type: MediaType | UnsetType = UNSET
    headers: Headers | UnsetType = UNSET
    timeout: Annotated[timedelta, span(0.1, 43_200, "Longest one attempt may take")] | UnsetType = UNSET
    retries: Retries | UnsetType = UNSET
    force: Annotated[bool, about("Redrive even if its `onFailure` task was submitted")] = False


class DeadLetterConditions(Model):
    """What dead letters must be to be counted in; what is left out asks nothing."""

    task_id: Annotated[UUID, id_of("task", "Of this task")] | UnsetType = UNSET
    kind: Annotated[Kind, about("Only submitted tasks, or only webhooks")] | UnsetType = UNSET
    queue: SoughtQueue | UnsetType = UNSET
    cls: OutcomeClass | UnsetType = field(default=UNSET, name="class")
    reason: Annotated[DeadReason, about("Why the task died")] | UnsetType = UNSET
    fingerprint: Annotated[str, plain_text(64, "Deaths of one cause share a fingerprint")] | UnsetType = UNSET
    target_host: Host | UnsetType = UNSET
    after: Annotated[Instant, about("Died after this time")] | UnsetType = UNSET
    before: Annotated[Instant, about("Died before this time")] | UnsetType = UNSET
    label: Label | UnsetType = UNSET


class RedriveMany(DeadLetterConditions):
    """Which dead letters to redrive, and how fast. Without conditions: all that were not redriven yet."""

    rate_per_second: Annotated[float, about("At most so many each second", ge=0.001, le=10_000)] | UnsetType = UNSET
    dry_run: Annotated[bool, about("Only count them")] = False


class FindDeadLetters(DeadLetterConditions):
    """Which dead letters to list."""

    include_redriven: Annotated[bool, about("Also those that were redriven")] = False
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 50


class FindTasks(Model):
    """Which tasks to list."""

    status: Literal["scheduled", "queued", "running", "retrying", "succeeded", "dead", "cancelled"] | UnsetType = UNSET
    kind: Annotated[Kind, about("`webhook` lists the webhooks instead of the tasks that were submitted")] = Kind.TASK
    queue: SoughtQueue | UnsetType = UNSET
    label: Label | UnsetType = UNSET
    outcome: (
        Annotated[
            str,
            one_of(
                CLASSES,
                "Outcome class of the newest attempt",
                hint="; what expired before its first attempt has none: ask the dead letters for reason=expired",
            ),
        ]
        | UnsetType
    ) = UNSET
    created_after: Instant | UnsetType = UNSET
    created_before: Instant | UnsetType = UNSET
    target_host: Host | UnsetType = UNSET
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 50


class Look(Model):
    """How to look at a task."""

    wait: (
        Annotated[
            timedelta,
            span(0, 25, "Hold the answer until the task has ended, but no longer than this", default=timedelta(0)),
        ]
        | UnsetType
    ) = UNSET
