"""From a submitted model to a ``NewTask``: what fields mean together, and what is to follow the task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from msgspec import UNSET, UnsetType

from taskqueue.core import policy
from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.policy import NO_POLICY, OnLost, Policy
from taskqueue.core.target import AllowedTargets, Target
from taskqueue.core.task import DEFAULT_TIMEOUT, ENDINGS_TOLD, FollowUp, NewTask, TaskSpec
from taskqueue.web.contents import metadata, read_content
from taskqueue.web.models import OnFailure, OnSuccess, QueuedTask, SubmitTask, TaskFields
from taskqueue.web.policies import Reconcile, backoff_of, preset_of, reconcile_of, rules_of
from taskqueue.web.problems import Faults
from taskqueue.web.reading import either
from taskqueue.web.targets import Sent, callable_target, check_function, checked_headers, flow_key_of
from taskqueue.web.times import check_times
from taskqueue.web.verdicts import verdicts_of

MAX_NESTED = 5  # follow-ups inside each other
_OF_POLICY = ("retryPolicy", "verdict", "reconcile", "onLost", "poisonAfter")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a submission besides its body."""

    project: str
    allowed: AllowedTargets
    functions: LambdaEndpoint | None = None  # where they are invoked
    traceparent: str | None = None


def new_task(asked: SubmitTask, faults: Faults, context: Context) -> NewTask | None:
    """The task that ``asked`` describes, or ``None`` with the reasons in ``faults``."""
    return _task(asked, faults, context, depth=0)


def _task(asked: QueuedTask, faults: Faults, context: Context, *, depth: int) -> NewTask | None:
    """``depth`` is the number of follow-ups that this one is nested in, itself included."""
    target = _target(asked, faults, context.allowed)
    content = read_content(asked, faults, method=asked.method)
    webhook_url = _webhook_url(asked, faults, context.allowed)
    headers = checked_headers(asked.headers, asked.at("headers"), faults)
    if target is not None and target.lambda_function is not None:
        # What a follow-up is given is JSON, whatever its own body.
        body = content.body if content and depth == 0 else None
        sent = Sent(asked.method, headers or (), body)
        check_function(target.lambda_function, context.functions, sent, asked, faults)
    kept_metadata = metadata(asked, faults)
    backoff = backoff_of(asked.backoff, faults) if asked.backoff is not UNSET else None
    policy_asked = _policy(asked, faults, context.allowed)
    on_failure = _follow_up(asked.on_failure, faults, context, depth=depth + 1)
    on_success = _follow_up(asked.on_success, faults, context, depth=depth + 1)
    check_times(asked, faults)
    if faults or target is None:
        return None
    spec = TaskSpec(
        project=context.project,
        target_url=target.url,
        origin=target.origin,
        target_host=target.host,
        method=asked.method,
        headers=headers or (),
        body=content.body if content else None,
        content_type=content.content_type if content else None,
        webhook_url=webhook_url,
        webhook_events=frozenset(either(asked.webhook_events, ENDINGS_TOLD)),
        retries=asked.retries,
        timeout=either(asked.timeout, DEFAULT_TIMEOUT),
        backoff=backoff,
        policy=policy_asked,
        on_failure=on_failure,
        on_success=on_success,
        queue=asked.queue,
        priority=asked.priority,
        ordering_key=either(asked.ordering_key, None),
        flow_key=None if asked.flow_key is UNSET else flow_key_of(asked.flow_key),
        labels=tuple(dict.fromkeys(asked.labels)),
        metadata=kept_metadata,
        traceparent=_traceparent(context),
    )
    return NewTask(
        spec=spec,
        run_at=either(asked.run_at, None),
        delay=either(asked.delay, timedelta(0)),
        expires_at=either(asked.expires_at, None),
        expires_in=either(asked.expires_in, None),
    )


def _target(asked: TaskFields, faults: Faults, allowed: AllowedTargets) -> Target | None:
    if asked.target_url is not UNSET:
        return callable_target(asked.target_url, asked.at("targetUrl"), faults, allowed, functions=True)
    if not asked.given("targetUrl"):
        faults.add(asked.at("targetUrl"), "this field is required: its queue has no default for it")
    return None


def _webhook_url(asked: TaskFields, faults: Faults, allowed: AllowedTargets) -> str | None:
    if asked.webhook_url is UNSET:
        if asked.given("webhookEvents"):
            faults.add(
                asked.at("webhookEvents"), "there is no webhookUrl to tell; give one, or leave webhookEvents out"
            )
        return None
    target = callable_target(asked.webhook_url, asked.at("webhookUrl"), faults, allowed)
    return target.url if target else None


def _policy(asked: TaskFields, faults: Faults, allowed: AllowedTargets) -> Policy:
    if not asked.given(*_OF_POLICY):
        return NO_POLICY
    return Policy(
        preset=preset_of(asked.retry_policy),
        rules=rules_of(asked.retry_policy, faults),
        verdicts=verdicts_of(either(asked.verdict, ()), faults),
        reconcile=_reconcile(asked.reconcile, faults, allowed) if asked.reconcile is not UNSET else None,
        on_lost=OnLost(asked.on_lost),
        poison_after=either(asked.poison_after, None),
    )


def _reconcile(asked: Reconcile, faults: Faults, allowed: AllowedTargets) -> policy.Reconcile | None:
    target = callable_target(asked.url, asked.at("url"), faults, allowed)
    return reconcile_of(asked, target.url) if target else None


def _follow_up(
    asked: OnFailure | OnSuccess | UnsetType, faults: Faults, context: Context, *, depth: int
) -> FollowUp | None:
    """The task to submit later; all that is refused in a task is refused in it now."""
    if asked is UNSET:
        return None
    if depth > MAX_NESTED:
        faults.add(
            asked.pointer, f"follow-ups are nested at most {MAX_NESTED} deep; let the last of them submit the next"
        )
        return None
    task = _task(asked.task, faults, context, depth=depth)
    match = tuple(either(asked.match, ())) if isinstance(asked, OnFailure) else ()
    return FollowUp(task=task, match=match) if task is not None else None


def _traceparent(context: Context) -> str | None:
    given = context.traceparent
    return given if given and _TRACEPARENT.fullmatch(given) else None
