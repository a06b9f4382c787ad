"""Tasks and outcomes for the pure tests, each in a word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from taskqueue.core.answer import read_answer
from taskqueue.core.lifecycle import decide
from taskqueue.core.memory import Memory
from taskqueue.core.outcome import CLASSES, Outcome, Phase, Response, Timings, failed, lapsed
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import (
    Attempt,
    AttemptId,
    Cause,
    Kind,
    Lease,
    LeaseToken,
    Progress,
    Task,
    TaskId,
    TaskSpec,
    TaskState,
    WebhookEvent,
)
from taskqueue.core.terms import Limits

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASK_ID = TaskId(UUID("018f0000-0000-7000-8000-000000000001"))
ATTEMPT_ID = AttemptId(UUID("018f0000-0000-7000-8000-00000000000a"))
LEASE = Lease("default", TASK_ID, LeaseToken(UUID(int=7)), ATTEMPT_ID)
HOOKED = {"webhook_url": "https://caller.example/hook", "webhook_events": frozenset(WebhookEvent)}
CAUSE = Cause(TaskId(UUID(int=1)), 1, 2)
# Classes that no answer of a target can lead to; the others are reached through `answered`.
UNANSWERED = frozenset(CLASSES) - {
    *("success", "truncated_response", "redirect", "bad_request", "unauthorized", "not_found", "gone", "too_large"),
    *("request_timeout", "conflict", "too_early", "throttled", "aborted", "server_error", "bad_gateway"),
    *("unavailable", "gateway_timeout", "function_handled_error", "function_error"),
}


def a_spec(**over: Any) -> TaskSpec:
    """What a caller asks for, valid as it stands."""
    fields: dict[str, Any] = {
        "target_url": "https://target.example/work?page=1",
        "origin": "https://target.example:443",
        "target_host": "target.example",
    }
    return TaskSpec(**fields | over)


def queued(*, progress: Progress | None = None, expires_in: timedelta = timedelta(days=7), **over: Any) -> Task:
    """A task that waits; ``over`` names fields of ``Task``, or of its spec."""
    fields = {name: over.pop(name) for name in list(over) if name in Task.__dataclass_fields__}
    return Task(
        id=TASK_ID,
        spec=fields.pop("spec", None) or a_spec(**over),
        created_at=NOW - timedelta(minutes=1),
        run_at=NOW - timedelta(minutes=1),
        expires_at=NOW + expires_in,
        **{"state": TaskState.QUEUED, "progress": progress or Progress(), "not_before": NOW} | fields,
    )


def running(*, progress: Progress | None = None, **over: Any) -> Task:
    """A task whose first attempt began two seconds ago."""
    held: dict[str, Any] = {
        "state": TaskState.RUNNING,
        "lease": LEASE,
        "started_at": NOW - timedelta(seconds=2),
        "worker": "worker-1",
        "not_before": None,
    }
    return queued(progress=progress or Progress(seq=2, number=1), **held | over)


def running_webhook(**over: Any) -> Task:
    """A webhook whose first attempt is under way."""
    return running(kind=Kind.WEBHOOK, cause=CAUSE, retries=10, **over)


def after(*names: str, charged: int | None = None, **over: Any) -> Task:
    """A running task that has these failures behind it."""
    failures = {name: names.count(name) for name in names}
    count = len(names)
    progress = Progress(
        seq=2 * count + 2,
        number=count + 1,
        charged=count if charged is None else charged,
        memory=Memory(failures=failures, previous=names[-1] if names else None),
    )
    return running(progress=progress, **over)


def answered(
    status: int = 200,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"ok",
    complete: bool = True,
    truncated: bool = False,
) -> Outcome:
    """The outcome of an answer."""
    return read_answer(
        Response(status=status, headers=headers, body=body, truncated=truncated),
        complete=complete,
        timings=Timings(send=0.001, wait=0.01, read=0.001),
        bytes_sent=300,
        bytes_received=len(body) + 100,
    )


def cut(name: str, phase: Phase = Phase.SENT) -> Outcome:
    """The outcome of an attempt that got no whole answer."""
    return lapsed() if name == "worker_lost" else failed(name, "TestFailure", f"it ended as {name}", phase=phase)


def decided(task: Task, outcome: Outcome, *, jitter: float = 1.0, lost_limit: int = 3) -> Settlement:
    """What ``outcome`` makes of ``task`` at ``NOW``; the jitter is the longest unless named."""
    return decide(task, outcome, now=NOW, jitter=jitter, limits=Limits(lost_limit=lost_limit))


def an_attempt(outcome: Outcome | None = None, *, number: int = 1) -> Attempt:
    """A closed attempt that took two and a half seconds."""
    return Attempt(
        id=ATTEMPT_ID,
        number=number,
        outcome=outcome or answered(500),
        charged=True,
        started_at=NOW - timedelta(seconds=2.5),
        finished_at=NOW,
        worker="worker-1",
    )
