"""The headers of an attempt: who sends it, how often it was tried, until when, and a signature over its bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from taskqueue import __version__
from taskqueue.core.resource import max_attempts
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import AttemptKind, Lease, Task
from taskqueue.core.webhook import sign

USER_AGENT = f"taskqueue/{__version__}"
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def attempt_headers(task: Task, lease: Lease, *, secrets: Sequence[str], now: datetime) -> tuple[tuple[str, str], ...]:
    """Of headers with the same name the first counts: ours that identify and sign, the caller's, ours that give way."""
    spec, message_id = task.spec, _message_id(task)
    yielding = [
        ("User-Agent", USER_AGENT),
        ("Idempotency-Key", message_id),
        ("traceparent", _traceparent(task, lease)),
    ]
    if spec.content_type is not None:
        yielding.append(("Content-Type", spec.content_type))
    return (
        *_identity(task, lease, deadline=now + spec.timeout),
        *_signature(message_id, spec.body or b"", secrets, now),
        *spec.headers,
        *yielding,
    )


def ask_headers(
    task: Task, lease: Lease, body: bytes, *, timeout: timedelta, secrets: Sequence[str], now: datetime
) -> tuple[tuple[str, str], ...]:
    """Those of an attempt that asks whether the work was done. The caller's own are for the target, not for others:
    only its idempotency key goes along, for that is what the work was done under."""
    own = (value for name, value in task.spec.headers if name.lower() == "idempotency-key")
    return (
        *_identity(task, lease, deadline=now + timeout),
        ("Taskqueue-Attempt-Kind", AttemptKind.RECONCILE),
        # Each question is a message of its own: as a repeat of the call it might be dropped.
        *_signature(str(lease.attempt_id), body, secrets, now),
        ("User-Agent", USER_AGENT),
        ("Idempotency-Key", next(own, _message_id(task))),
        ("traceparent", _traceparent(task, lease)),
        ("Content-Type", "application/json"),
    )


def _message_id(task: Task) -> str:
    """What a receiver may drop as a repeat: an edited redrive is none."""
    return str(task.id) if task.revision is None else f"{task.id}.{task.revision}"


def _identity(task: Task, lease: Lease, *, deadline: datetime) -> list[tuple[str, str]]:
    progress = task.progress
    told = [
        ("Taskqueue-Task-Id", str(task.id)),
        ("Taskqueue-Attempt-Id", str(lease.attempt_id)),
        ("Taskqueue-Attempt", str(progress.number)),
        ("Taskqueue-Max-Attempts", str(max_attempts(task))),
        ("Taskqueue-Deadline", rfc3339(deadline)),
        ("Taskqueue-Expires-At", rfc3339(task.expires_at)),
    ]
    if progress.memory.previous is not None:
        told.append(("Taskqueue-Previous-Outcome", progress.memory.previous))
    return told


def _signature(message_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> tuple[tuple[str, str], ...]:
    signed_at = int(now.timestamp())
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", str(signed_at)),
        ("webhook-signature", sign(secrets, message_id=message_id, timestamp=signed_at, body=body)),
    )


def _traceparent(task: Task, lease: Lease) -> str:
    """The trace of the submit request, or one of the task's own; the attempt is the span that calls."""
    span = lease.attempt_id.hex[16:]
    going_on = _TRACEPARENT.fullmatch(task.spec.traceparent) if task.spec.traceparent else None
    if going_on is None:
        return f"00-{task.id.hex}-{span}-01"
    return f"00-{going_on[1]}-{span}-{going_on[2]}"
