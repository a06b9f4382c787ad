"""The task resource: one rendering of a task for the API, the webhook and the command line."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import NotRequired, TypedDict

from taskqueue.core.asked import AskedResource, asked_resource
from taskqueue.core.outcome import Compensation, Outcome, Partial, Response, Timings
from taskqueue.core.reason import DeadReason
from taskqueue.core.shown import masked, rfc3339
from taskqueue.core.task import Attempt, Task, TaskState


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


class TaskResource(AskedResource):
    """A task as callers see it. Payload and metadata are raw JSON texts, added by whoever prints them."""

    id: str
    kind: str
    status: str
    parentId: str | None  # the task that this one follows
    rootId: str  # the first of its chain
    attempt: int
    maxAttempts: int
    generation: int
    seq: int
    createdAt: str
    startedAt: str | None  # of the newest attempt
    finishedAt: str | None
    nextAttemptAt: str | None
    runAt: str
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
        "kind": str,  # call, or reconcile: somebody was asked whether the work was done
        "class": str,
        "charged": bool,
        "phase": str,
        "statusCode": int | None,
        "errorType": str | None,
        "errorMessage": str | None,
        "stackTrace": list[str],  # as the function told it
        "fingerprint": str | None,  # of a failure; those of one cause share it
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
    spec, progress, last = task.spec, task.progress, task.last_attempt
    waiting = task.state is TaskState.QUEUED
    return {
        "id": str(task.id),
        "kind": spec.kind.value,
        "status": status(task, now=now),
        **asked_resource(spec),
        "parentId": str(spec.parent_id) if spec.parent_id else None,
        "rootId": str(spec.root_id or task.id),
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
        "result": _result(last) if task.state.ended and last else None,
        "error": _error(task),
        "deadReason": task.ending.reason.value if task.ending and task.ending.reason else None,
        "deadLetterId": str(task.dead_letter_id) if task.dead_letter_id else None,
        "links": _links(task),
    }


def max_attempts(task: Task) -> int:
    """The most attempts there can be if each failure from now on uses up a retry of the task.

    An attempt that used up none comes on top of the first and its retries: it was lost or free, a rule of the policy
    counted it for itself, or it only asks whether the work was done. What rules counted is forgotten when a task ends;
    the attempts that were started stand for it then, and are never more than this.
    """
    progress = task.progress
    on_top = progress.lost + progress.deferred
    if task.ending is None:
        on_top += progress.memory.apart + (progress.memory.asking is not None)
    return max(progress.number, task.spec.retries + 1 + on_top)


def attempt_resource(attempt: Attempt) -> AttemptResource:
    """A closed attempt as the API shows it."""
    outcome = attempt.outcome
    return {
        "id": str(attempt.id),
        "number": attempt.number,
        "kind": attempt.kind.value,
        "class": outcome.cls.name,
        "charged": attempt.charged,
        "phase": outcome.phase.label,
        "statusCode": outcome.response.status if outcome.response else None,
        "errorType": outcome.error_type,
        "errorMessage": outcome.error_message,
        "stackTrace": list(outcome.stack),
        "fingerprint": attempt.fingerprint,
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


def _maybe(instant: datetime | None) -> str | None:
    return rfc3339(instant) if instant else None


def _links(task: Task) -> dict[str, str]:
    itself = f"/v1/tasks/{task.id}"
    links = {name: f"{itself}/{name}" for name in ("attempts", "chain", "explain")}
    links["self"] = itself
    if task.spec.webhook_url is not None:
        links["webhooks"] = f"{itself}/webhooks"
    if task.dead_letter_id is not None:
        links["deadLetter"] = f"/v1/dead-letters/{task.dead_letter_id}"
    return links


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
        if ending is None or ending.reason not in _NEVER_STARTED:
            return None
        error_type, message = _NEVER_STARTED[ending.reason]
        return {
            "class": ending.reason.value,
            "type": error_type,
            "message": message,
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


_NEVER_STARTED = {
    DeadReason.EXPIRED: ("Expired", "the task expired before an attempt could start"),
    DeadReason.PARKED: ("Parked", "an older task of its ordering key died, and the queue parks what waits behind it"),
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
