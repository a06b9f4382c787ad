"""The task resource: one rendering of a task for the API, the webhook and the command line."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NotRequired, TypedDict

from taskqueue.core.outcome import Compensation, Outcome, Partial, Response, Timings
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import Attempt, Task, TaskState

MASK = "***"
_CREDENTIAL = re.compile(r"^(proxy-)?authorization$|^(set-)?cookie$|-key$|-token$|-secret$", re.IGNORECASE)


class BackoffResource(TypedDict):
    type: str
    initial: float
    factor: float
    max: float
    jitter: str
    schedule: list[float]


class ResultResource(TypedDict):
    """What the target answered; ``body`` when it is text, else ``bodyBase64``."""

    statusCode: int
    headers: dict[str, str]
    body: NotRequired[str]
    bodyBase64: NotRequired[str]
    truncated: bool
    durationMs: float


ErrorResource = TypedDict(
    "ErrorResource",
    {
        "class": str,
        "type": str | None,
        "message": str | None,
        "retryable": bool,
        "partialWork": str,
        "compensation": bool,
    },
)


class TaskResource(TypedDict):
    """A task as callers see it. Payload and metadata are raw JSON texts, added by whoever prints them."""

    id: str
    kind: str
    status: str
    targetUrl: str
    method: str
    headers: NotRequired[dict[str, str]]
    contentType: str | None
    webhookUrl: str | None
    webhookEvents: list[str]
    retries: int
    timeout: float
    backoff: BackoffResource | None
    queue: str
    priority: int
    orderingKey: str | None
    flowKey: str
    labels: list[str]
    attempt: int
    maxAttempts: int
    generation: int
    seq: int
    createdAt: str
    runAt: str
    startedAt: str | None  # of the newest attempt
    finishedAt: str | None
    nextAttemptAt: str | None
    expiresAt: str
    result: ResultResource | None
    error: ErrorResource | None
    deadReason: str | None
    deadLetterId: str | None  # what to redrive
    links: dict[str, str]


class TimingsResource(TypedDict):
    """Seconds per phase; ``null`` for a phase that was skipped or never reached."""

    dns: float | None
    connect: float | None
    tls: float | None
    send: float | None
    wait: float | None
    read: float | None


AttemptResource = TypedDict(
    "AttemptResource",
    {
        "id": str,
        "number": int,
        "class": str,
        "charged": bool,
        "phase": str,
        "statusCode": int | None,
        "errorType": str | None,
        "errorMessage": str | None,
        "partialWork": str,
        "compensation": bool,
        "timings": TimingsResource,
        "bytesSent": int,
        "bytesReceived": int,
        "response": ResultResource | None,
        "startedAt": str,
        "finishedAt": str,
        "worker": str,
    },
)


def task_resource(task: Task, *, now: datetime) -> TaskResource:
    """``task`` as the API shows it, without payload and metadata."""
    spec, progress, ended = task.spec, task.progress, task.state.ended
    last = task.last_attempt
    waiting = task.state is TaskState.QUEUED
    return {
        "id": str(task.id),
        "kind": spec.kind.value,
        "status": status(task, now=now),
        "targetUrl": spec.target_url,
        "method": spec.method,
        "headers": masked(spec.headers),
        "contentType": spec.content_type,
        "webhookUrl": spec.webhook_url,
        "webhookEvents": sorted(event.value for event in spec.webhook_events),
        "retries": spec.retries,
        "timeout": spec.timeout.total_seconds(),
        "backoff": _backoff(task),
        "queue": spec.queue,
        "priority": spec.priority,
        "orderingKey": spec.ordering_key,
        "flowKey": spec.flow_key or spec.origin,
        "labels": list(spec.labels),
        "attempt": progress.number,
        "maxAttempts": max_attempts(task),
        "generation": progress.generation,
        "seq": progress.seq,
        "createdAt": rfc3339(task.created_at),
        "runAt": rfc3339(task.run_at),
        "startedAt": _maybe(task.started_at or (last.started_at if last else None)),
        "finishedAt": _maybe(task.ending.finished_at if task.ending else None),
        "nextAttemptAt": _maybe(task.not_before) if waiting and not task.held else None,
        "expiresAt": rfc3339(task.expires_at),
        "result": _result(last) if ended and last else None,
        "error": _error(task),
        "deadReason": task.ending.reason.value if task.ending and task.ending.reason else None,
        "deadLetterId": str(task.dead_letter_id) if task.dead_letter_id else None,
        "links": _links(task),
    }


def max_attempts(task: Task) -> int:
    """The most attempts there can be as things stand: those that were lost or free used up no retry."""
    return task.spec.retries + 1 + task.progress.lost + task.progress.deferred


def attempt_resource(attempt: Attempt) -> AttemptResource:
    """A closed attempt as the API shows it."""
    outcome = attempt.outcome
    return {
        "id": str(attempt.id),
        "number": attempt.number,
        "class": outcome.cls.name,
        "charged": attempt.charged,
        "phase": outcome.phase.label,
        "statusCode": outcome.response.status if outcome.response else None,
        "errorType": outcome.error_type,
        "errorMessage": outcome.error_message,
        "partialWork": outcome.partial.label,
        "compensation": _compensation(outcome),
        "timings": _timings(outcome.timings),
        "bytesSent": outcome.bytes_sent,
        "bytesReceived": outcome.bytes_received,
        "response": _result(attempt),
        "startedAt": rfc3339(attempt.started_at),
        "finishedAt": rfc3339(attempt.finished_at),
        "worker": attempt.worker,
    }


def status(task: Task, *, now: datetime) -> str:
    """The state; a queued task that waits is ``scheduled`` before its first attempt, ``retrying`` after."""
    if task.state is TaskState.QUEUED:
        if task.progress.number > 0:
            return "retrying"
        if task.not_before is not None and task.not_before > now:
            return "scheduled"
    return task.state.value


def masked(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers as they may be shown: credentials never."""
    return {name: MASK if _CREDENTIAL.search(name) else value for name, value in headers}


def rfc3339(instant: datetime) -> str:
    """UTC with milliseconds, as every time in the API."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _maybe(instant: datetime | None) -> str | None:
    return rfc3339(instant) if instant else None


def _links(task: Task) -> dict[str, str]:
    itself = f"/v1/tasks/{task.id}"
    links = {"self": itself, "attempts": f"{itself}/attempts"}
    if task.spec.webhook_url is not None:
        links["webhooks"] = f"{itself}/webhooks"
    if task.dead_letter_id is not None:
        links["deadLetter"] = f"/v1/dead-letters/{task.dead_letter_id}"
    return links


def _backoff(task: Task) -> BackoffResource | None:
    backoff = task.spec.backoff
    if backoff is None:
        return None
    return {
        "type": backoff.type.value,
        "initial": backoff.initial.total_seconds(),
        "factor": backoff.factor,
        "max": backoff.max.total_seconds(),
        "jitter": backoff.jitter.value,
        "schedule": [span.total_seconds() for span in backoff.schedule],
    }


def _result(attempt: Attempt) -> ResultResource | None:
    response = attempt.outcome.response
    if response is None:
        return None
    result: ResultResource = {
        "statusCode": response.status,
        "headers": masked(response.headers),
        "truncated": response.truncated,
        "durationMs": round((attempt.finished_at - attempt.started_at) / timedelta(milliseconds=1), 3),
    }
    _add_body(result, response)
    return result


def _add_body(result: ResultResource, response: Response) -> None:
    try:
        result["body"] = response.body.decode()
    except UnicodeDecodeError:
        result["bodyBase64"] = base64.b64encode(response.body).decode()


def _error(task: Task) -> ErrorResource | None:
    last, ending = task.last_attempt, task.ending
    if last is None or last.outcome.cls.name == "success":
        if ending is None or ending.reason is not DeadReason.EXPIRED:
            return None
        return {
            "class": "expired",
            "type": "Expired",
            "message": "the task expired before an attempt could start",
            "retryable": False,
            "partialWork": Partial.NO.label,
            "compensation": False,
        }
    outcome = last.outcome
    return {
        "class": outcome.cls.name,
        "type": outcome.error_type,
        "message": outcome.error_message,
        "retryable": outcome.cls.retryable,
        "partialWork": (ending.worst_partial if ending else outcome.partial).label,
        "compensation": _compensation(outcome),
    }


def _compensation(outcome: Outcome) -> bool:
    return outcome.cls.compensation in (Compensation.YES, Compensation.CHECK)


def _timings(timings: Timings) -> TimingsResource:
    return {
        "dns": timings.dns,
        "connect": timings.connect,
        "tls": timings.tls,
        "send": timings.send,
        "wait": timings.wait,
        "read": timings.read,
    }
