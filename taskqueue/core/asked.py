"""What was asked for, as callers see it: of a task, and of the tasks that are to follow it."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, cast

from taskqueue.core.policy import Policy, Reconcile, Rule
from taskqueue.core.retry import Backoff
from taskqueue.core.shown import masked, rfc3339
from taskqueue.core.task import FollowUp, NewTask, TaskSpec
from taskqueue.core.verdict import Verdict, When


class BackoffResource(TypedDict):
    type: str
    initial: float
    factor: float
    max: float
    jitter: str
    schedule: list[float]


class RuleResource(TypedDict):
    """One rule of a retry policy."""

    match: list[str]
    retries: int | None  # of its own; null: those of the task
    within: float | None
    backoff: BackoffResource | None
    charge: bool


Scalar = str | int | float | bool | None
WhenResource = TypedDict(
    "WhenResource",
    {
        "status": NotRequired[str],
        "header": NotRequired[str],
        "jsonPath": NotRequired[str],
        "equals": NotRequired[Scalar],
        "in": NotRequired[list[Scalar]],
        "exists": NotRequired[bool],
        "glob": NotRequired[str],
    },
)


class VerdictResource(TypedDict):
    """If an answer is so, then it means this."""

    when: WhenResource
    outcome: str


class ReconcileResource(TypedDict):
    url: str
    timeout: float
    onUnknown: str


class OnFailureResource(TypedDict):
    """What is submitted when the task dies; no patterns: whatever it dies of."""

    match: list[str]
    task: FollowUpResource


class OnSuccessResource(TypedDict):
    """What is submitted when the task has succeeded."""

    task: FollowUpResource


class AskedResource(TypedDict):
    """What every task was asked to be."""

    targetUrl: str
    method: str
    headers: NotRequired[dict[str, str]]
    contentType: str | None
    webhookUrl: str | None
    webhookEvents: list[str]
    retries: int
    timeout: float
    backoff: BackoffResource | None
    retryPolicy: str | list[RuleResource] | None
    verdict: list[VerdictResource]
    reconcile: ReconcileResource | None
    onLost: str
    poisonAfter: int | None
    onFailure: OnFailureResource | None
    onSuccess: OnSuccessResource | None
    queue: str
    priority: int
    orderingKey: str | None
    flowKey: str
    labels: list[str]


class FollowUpResource(AskedResource):
    """A task that is to be submitted. What it carries are raw JSON texts, added by whoever prints them."""

    delay: float
    runAt: str | None
    expiresIn: float | None
    expiresAt: str | None
    payload: NotRequired[Any]
    body: NotRequired[str]
    bodyBase64: NotRequired[str]
    metadata: NotRequired[Any]


def asked_resource(spec: TaskSpec) -> AskedResource:
    """What was asked for, without payload and metadata."""
    policy = spec.policy
    return {
        "targetUrl": spec.target_url,
        "method": spec.method,
        "headers": masked(spec.headers),
        "contentType": spec.content_type,
        "webhookUrl": spec.webhook_url,
        "webhookEvents": sorted(event.value for event in spec.webhook_events),
        "retries": spec.retries,
        "timeout": spec.timeout.total_seconds(),
        "backoff": backoff_resource(spec.backoff) if spec.backoff else None,
        "retryPolicy": _retry_policy(policy),
        "verdict": [_verdict(verdict) for verdict in policy.verdicts],
        "reconcile": _reconcile(policy.reconcile) if policy.reconcile else None,
        "onLost": policy.on_lost.value,
        "poisonAfter": policy.poison_after,
        "onFailure": _on_failure(spec.on_failure) if spec.on_failure else None,
        "onSuccess": {"task": _follow_up(spec.on_success.task)} if spec.on_success else None,
        "queue": spec.queue,
        "priority": spec.priority,
        "orderingKey": spec.ordering_key,
        "flowKey": spec.flow_key or spec.origin,
        "labels": list(spec.labels),
    }


def backoff_resource(backoff: Backoff) -> BackoffResource:
    """A backoff in seconds and plain words."""
    return {
        "type": backoff.type.value,
        "initial": backoff.initial.total_seconds(),
        "factor": backoff.factor,
        "max": backoff.max.total_seconds(),
        "jitter": backoff.jitter.value,
        "schedule": [span.total_seconds() for span in backoff.schedule],
    }


def _retry_policy(policy: Policy) -> str | list[RuleResource] | None:
    return policy.preset or [_rule(rule) for rule in policy.rules] or None


def _rule(rule: Rule) -> RuleResource:
    return {
        "match": list(rule.match),
        "retries": rule.retries,
        "within": rule.within.total_seconds() if rule.within is not None else None,
        "backoff": backoff_resource(rule.backoff) if rule.backoff else None,
        "charge": rule.charge,
    }


def _verdict(verdict: Verdict) -> VerdictResource:
    return {"when": _when(verdict.when), "outcome": verdict.outcome.value}


def _when(when: When) -> WhenResource:
    shown: WhenResource = {}
    if when.status is not None:
        shown["status"] = when.status
    if when.header is not None:
        shown["header"] = when.header
    if when.json_path is not None:
        shown["jsonPath"] = when.json_path
    if when.equals is not None:
        shown["equals"] = when.equals
    if when.one_of:
        shown["in"] = list(when.one_of)
    if when.exists is not None:
        shown["exists"] = when.exists
    if when.glob is not None:
        shown["glob"] = when.glob
    return shown


def _reconcile(reconcile: Reconcile) -> ReconcileResource:
    return {
        "url": reconcile.url,
        "timeout": reconcile.timeout.total_seconds(),
        "onUnknown": reconcile.on_unknown.value,
    }


def _on_failure(follow_up: FollowUp) -> OnFailureResource:
    return {"match": list(follow_up.match), "task": _follow_up(follow_up.task)}


def _follow_up(task: NewTask) -> FollowUpResource:
    times = {
        "delay": task.delay.total_seconds(),
        "runAt": rfc3339(task.run_at) if task.run_at else None,
        "expiresIn": task.expires_in.total_seconds() if task.expires_in is not None else None,
        "expiresAt": rfc3339(task.expires_at) if task.expires_at else None,
    }
    return cast(FollowUpResource, {**asked_resource(task.spec), **times})
