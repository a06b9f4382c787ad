"""Telling the caller: the completion event as a task of its own, and the Standard Webhooks signature."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

from taskqueue.core.errors import InvalidTarget
from taskqueue.core.resource import task_resource
from taskqueue.core.retry import WEBHOOK_RETRIES
from taskqueue.core.settlement import Settlement
from taskqueue.core.shown import rfc3339
from taskqueue.core.target import parse_target
from taskqueue.core.task import (
    WEBHOOK_QUEUE,
    Attempt,
    AttemptKind,
    Cause,
    Kind,
    NewTask,
    Task,
    TaskSpec,
    TaskState,
    WebhookEvent,
)

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
WEBHOOK_TIMEOUT = timedelta(seconds=15)
WEBHOOK_EXPIRY = timedelta(days=14)  # its schedule takes three days, and receivers may ask for a day between attempts


def notices(settlement: Settlement, *, now: datetime) -> list[NewTask]:
    """The webhook tasks a settlement asks for; they belong in the transaction that writes it."""
    return [_notice(settlement, event, now=now) for event in settlement.events]


def settled(settlement: Settlement, *, now: datetime) -> Task:
    """The task as it stands once ``settlement`` is written at ``now``."""
    return replace(
        settlement.task,
        state=settlement.state,
        progress=settlement.progress,
        lease=None,
        not_before=now + settlement.wait if settlement.wait is not None else None,
        ending=settlement.ending,
        last_attempt=_last_attempt(settlement),
    )


def with_metadata(resource: Mapping[str, object], metadata: bytes | None) -> bytes:
    """A task resource as JSON, with the caller's metadata in it as they were sent."""
    # Spliced in: parsing and printing it again could change a number.
    return b'%s,"metadata":%s}' % (json.dumps(resource, separators=(",", ":"))[:-1].encode(), metadata or b"null")


def sign(secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: one ``v1`` signature per secret, so that two are valid while rotating."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret_key(secret), signed, "sha256")).decode() for secret in secrets
    )


@lru_cache(maxsize=64)
def secret_key(secret: str) -> bytes:
    """The key inside ``whsec_<base64>``; ValueError when it is not one of 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a signing secret is whsec_ followed by 24 to 64 bytes in base64")
    return key


def _notice(settlement: Settlement, event: WebhookEvent, *, now: datetime) -> NewTask:
    spec = settlement.task.spec
    assert spec.webhook_url is not None, "decide asks for no event without a URL to tell"
    origin, host = _place(spec.webhook_url)
    return NewTask(
        spec=TaskSpec(
            project=spec.project,
            kind=Kind.WEBHOOK,
            queue=WEBHOOK_QUEUE,
            target_url=spec.webhook_url,
            origin=origin,
            target_host=host,
            body=_event_body(settlement, event, now=now),
            content_type="application/json",
            retries=WEBHOOK_RETRIES,
            timeout=WEBHOOK_TIMEOUT,
            traceparent=spec.traceparent,
            cause=_cause(settlement, event),
        ),
        expires_in=WEBHOOK_EXPIRY,
    )


def _place(url: str) -> tuple[str, str]:
    """Origin and host. A URL that was taken by a version with other rules must not keep its task from ending: the
    webhook's own attempt will be refused."""
    try:
        target = parse_target(url, pointer="/webhookUrl")
    except InvalidTarget:
        return url, url
    return target.origin, target.host


def _cause(settlement: Settlement, event: WebhookEvent) -> Cause:
    """An ending is told under its own ``seq``, a failed attempt under that of its start: the last one tells both."""
    of_attempt = event is WebhookEvent.ATTEMPT_FAILED
    seq = settlement.task.progress.seq if of_attempt else settlement.progress.seq
    return Cause(settlement.task.id, settlement.progress.generation, seq)


def _event_body(settlement: Settlement, event: WebhookEvent, *, now: datetime) -> bytes:
    resource = task_resource(settled(settlement, now=now), now=now)
    del resource["headers"]
    return b'{"type":"task.%s","timestamp":"%s","data":%s}' % (
        event.value.encode(),
        rfc3339(now).encode(),
        with_metadata(resource, settlement.task.spec.metadata),
    )


def _last_attempt(settlement: Settlement) -> Attempt | None:
    """The last call of the target, or what somebody else said of it where that is the result."""
    attempt = settlement.attempt
    if attempt is None or (attempt.kind is AttemptKind.RECONCILE and settlement.state is not TaskState.SUCCEEDED):
        return settlement.task.last_attempt
    return attempt
