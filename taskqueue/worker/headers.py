"""The headers of an attempt: who sends it, how often it was tried, until when, and a signature over its bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from taskqueue import __version__
from taskqueue.core.resource import max_attempts
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Lease, Task
from taskqueue.core.webhook import sign

USER_AGENT = f"taskqueue/{__version__}"
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def attempt_headers(task: Task, lease: Lease, *, secrets: Sequence[str], now: datetime) -> tuple[tuple[str, str], ...]:
    """Of headers with the same name the first counts: ours that identify and sign, the caller's, ours that give way."""
    spec, progress, task_id = task.spec, task.progress, str(task.id)
    # What a receiver may drop as a repeat: an edited redrive is none.
    message_id = task_id if task.revision is None else f"{task_id}.{task.revision}"
    signed_at = int(now.timestamp())
    firm = [
        ("Taskqueue-Task-Id", task_id),
        ("Taskqueue-Attempt-Id", str(lease.attempt_id)),
        ("Taskqueue-Attempt", str(progress.number)),
        ("Taskqueue-Max-Attempts", str(max_attempts(task))),
        ("Taskqueue-Deadline", rfc3339(now + spec.timeout)),
        ("Taskqueue-Expires-At", rfc3339(task.expires_at)),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(signed_at)),
        ("webhook-signature", sign(secrets, message_id=message_id, timestamp=signed_at, body=spec.body or b"")),
    ]
    if progress.memory.previous is not None:
        firm.append(("Taskqueue-Previous-Outcome", progress.memory.previous))
    yielding = [
        ("User-Agent", USER_AGENT),
        ("Idempotency-Key", message_id),
        ("traceparent", _traceparent(task, lease)),
    ]
    if spec.content_type is not None:
        yielding.append(("Content-Type", spec.content_type))
    return (*firm, *spec.headers, *yielding)


def _traceparent(task: Task, lease: Lease) -> str:
    """The trace of the submit request, or one of the task's own; the attempt is the span that calls."""
    span = lease.attempt_id.hex[16:]
    going_on = _TRACEPARENT.fullmatch(task.spec.traceparent) if task.spec.traceparent else None
    if going_on is None:
        return f"00-{task.id.hex}-{span}-01"
    return f"00-{going_on[1]}-{span}-{going_on[2]}"
