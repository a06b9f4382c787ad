"""Rows to domain objects and back. The one place that knows how a field is spelled in a column."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Result

from taskqueue.core.asked import backoff_resource
from taskqueue.core.memory import Memory
from taskqueue.core.outcome import CLASSES, Outcome, OutcomeClass, Partial, Phase, Response, Timings
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.settlement import Settlement
from taskqueue.core.strand import strand_of
from taskqueue.core.task import (
    ENDINGS_TOLD,
    Attempt,
    AttemptId,
    AttemptKind,
    Cause,
    Ending,
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
from taskqueue.store.drafts import draft_of
from taskqueue.store.policies import follow_ups_blob, follow_ups_of, policy_blob, policy_of

_encode = msgspec.json.encode
_pairs = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_strings = msgspec.json.Decoder(tuple[str, ...])
_timings = msgspec.json.Decoder(tuple[float | None, ...])
_SpecDraft, _TaskDraft = draft_of(TaskSpec), draft_of(Task)
_KINDS = {kind.value: kind for kind in Kind}

Columns = dict[str, Any]


def task_columns(task: Task) -> Columns:
    """A row of ``tasks``."""
    spec = task.spec
    return {
        "id": task.id,
        "project": spec.project,
        "kind": spec.kind.value,
        "queue": spec.queue,
        "target_url": spec.target_url,
        "origin": spec.origin,
        "target_host": spec.target_host,
        "method": spec.method,
        "headers": pairs_blob(spec.headers),
        "body": spec.body,
        "content_type": spec.content_type,
        "webhook_url": spec.webhook_url,
        "webhook_events": _events_text(spec.webhook_events),
        "retries": spec.retries,
        "timeout": spec.timeout.total_seconds(),
        "backoff": _backoff_blob(spec.backoff),
        "priority": spec.priority,
        "ordering_key": spec.ordering_key,
        "flow_key": spec.flow_key,
        "labels": _encode(spec.labels) if spec.labels else None,
        "metadata": spec.metadata,
        "traceparent": spec.traceparent,
        "cause_task_id": spec.cause.task_id if spec.cause else None,
        "cause_generation": spec.cause.generation if spec.cause else None,
        "cause_seq": spec.cause.seq if spec.cause else None,
        "created_at": task.created_at,
        "run_at": task.run_at,
        "expires_at": task.expires_at,
        "policy": policy_blob(spec.policy),
        "follow_ups": follow_ups_blob(spec),
        "parent_id": spec.parent_id,
        "root_id": spec.root_id,
    }


def ready_columns(task: Task, *, lane_position: int | None) -> Columns:
    """A row of ``ready`` for a queued task."""
    spec, progress = task.spec, task.progress
    return {
        "task_id": task.id,
        "project": spec.project,
        "kind": spec.kind.value,
        "queue": spec.queue,
        "flow_key": spec.flow_key or spec.origin,
        "origin": spec.origin,
        "ordering_key": spec.ordering_key,
        "lane_position": lane_position,
        "held": task.held,
        "priority": spec.priority,
        "not_before": task.not_before,
        "expires_at": task.expires_at,
        "generation": progress.generation,
        "revision": task.revision,
        "seq": progress.seq,
        "number": progress.number,
        "charged": progress.charged,
        "lost": progress.lost,
        "deferred": progress.deferred,
        "memory": progress.memory.encode(),
        "cancelled": False,
        "strand": strand_of(spec),
    }


def attempt_columns(task: Task, attempt: Attempt) -> Columns:
    """A row of ``attempts``."""
    outcome, response = attempt.outcome, attempt.outcome.response
    timings = outcome.timings
    return {
        "id": attempt.id,
        "project": task.spec.project,
        "task_id": task.id,
        "generation": task.progress.generation,
        "number": attempt.number,
        "class": outcome.cls.name,
        "charged": attempt.charged,
        "phase": int(outcome.phase),
        "partial": int(outcome.partial),
        "status_code": response.status if response else None,
        "error_type": outcome.error_type,
        "error_message": outcome.error_message,
        "timings": _encode((timings.dns, timings.connect, timings.tls, timings.send, timings.wait, timings.read)),
        "bytes_sent": outcome.bytes_sent,
        "bytes_received": outcome.bytes_received,
        "response_headers": pairs_blob(response.headers) if response else None,
        "response_body": response.body if response else None,
        "response_truncated": response.truncated if response else False,
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "worker": attempt.worker,
        "kind": attempt.kind.value,
        "fingerprint": attempt.fingerprint,
        "stack_trace": _encode(outcome.stack) if outcome.stack else None,
    }


def ending_columns(settlement: Settlement) -> Columns:
    """A row of ``endings``."""
    task, progress, ending = settlement.task, settlement.progress, settlement.ending
    assert ending is not None, "only an ended task has an ending"
    return {
        "project": task.spec.project,
        "task_id": task.id,
        "generation": progress.generation,
        "state": ending.state.value,
        "reason": ending.reason.value if ending.reason else None,
        "class": ending.cls,
        "partial": int(ending.worst_partial),
        "attempt_id": ending.attempt_id,
        "seq": progress.seq,
        "number": progress.number,
        "charged": progress.charged,
        "lost": progress.lost,
        "deferred": progress.deferred,
        "finished_at": ending.finished_at,
        "expires_at": task.expires_at,
    }


def spec_of(row: Any) -> TaskSpec:
    """What was asked for, from a row that holds the columns of ``tasks``."""
    follow_ups = follow_ups_of(row.follow_ups)
    spec = _SpecDraft(
        target_url=row.target_url,
        origin=row.origin,
        target_host=row.target_host,
        project=row.project,
        kind=_KINDS[row.kind],
        queue=row.queue,
        method=row.method,
        headers=pairs_of(row.headers),
        body=row.body,
        content_type=row.content_type,
        webhook_url=row.webhook_url,
        webhook_events=_events_of(row.webhook_events),
        retries=row.retries,
        timeout=_seconds(row.timeout),
        backoff=_backoff_of(row.backoff),
        policy=policy_of(row.policy),
        on_failure=follow_ups.on_failure,
        on_success=follow_ups.on_success,
        parent_id=row.parent_id,
        root_id=row.root_id,
        priority=row.priority,
        ordering_key=row.ordering_key,
        flow_key=row.flow_key,
        labels=_strings.decode(row.labels) if row.labels else (),
        metadata=row.metadata,
        traceparent=row.traceparent,
        cause=Cause(TaskId(row.cause_task_id), row.cause_generation, row.cause_seq) if row.cause_task_id else None,
    )
    spec.__class__ = TaskSpec
    return spec


def leased_task(row: Any, lease: Lease, *, started_at: datetime, worker: str) -> Task:
    """A running task from a row of ``ready`` joined to ``tasks``, with the lease it is under."""
    task = _TaskDraft(
        id=lease.task_id,
        spec=spec_of(row),
        created_at=row.created_at,
        run_at=row.run_at,
        expires_at=row.live_until,  # of the hot row: a redrive moves it
        state=TaskState.RUNNING,
        progress=progress_of(row),
        lease=lease,
        started_at=started_at,
        worker=worker,
        revision=row.revision,
    )
    task.__class__ = Task
    return task


def claimed_task(row: Any) -> Task:
    """A running task from a row that holds its lease as well."""
    lease = Lease(row.project, TaskId(row.task_id), LeaseToken(row.lease_token), AttemptId(row.attempt_id))
    return leased_task(row, lease, started_at=row.started_at, worker=row.worker)


def records(result: Result[Any]) -> list[Any]:
    """The rows as named tuples, whose fields are read ten times as fast as those of SQLAlchemy's rows."""
    return list(map(record(tuple(result.keys()))._make, result))


@lru_cache(maxsize=64)
def record(names: tuple[str, ...]) -> Any:
    """The named tuple that holds a row with these columns."""
    return namedtuple("Record", names)


def progress_of(row: Any) -> Progress:
    """The counters in a row of ``ready``."""
    return _progress(row.generation, row.seq, row.number, row.charged, row.lost, row.deferred, row.memory)


@lru_cache(maxsize=1024)
def _progress(
    generation: int, seq: int, number: int, charged: int, lost: int, deferred: int, memory: bytes | None
) -> Progress:
    """Many tasks stand at the same few places, above all at their first attempt: each is made once."""
    return Progress(
        generation=generation,
        seq=seq,
        number=number,
        charged=charged,
        lost=lost,
        deferred=deferred,
        memory=Memory.decode(memory),
    )


def attempt_of(row: Any) -> Attempt:
    """A closed attempt from a row of ``attempts``."""
    fields: Mapping[str, Any] = row._mapping
    cls = class_named(fields["class"])
    if cls.partial != row.partial and row.status_code is not None:
        cls = replace(cls, partial=Partial(row.partial))  # `aborted` carries the mark of its status
    response = None
    if row.status_code is not None:
        response = Response(
            status=row.status_code,
            headers=pairs_of(row.response_headers),
            body=row.response_body or b"",
            truncated=row.response_truncated,
        )
    outcome = Outcome(
        cls=cls,
        phase=Phase(row.phase),
        response=response,
        error_type=row.error_type,
        error_message=row.error_message,
        stack=_strings.decode(row.stack_trace) if row.stack_trace else (),
        timings=Timings(*_timings.decode(row.timings)) if row.timings else Timings(),
        bytes_sent=row.bytes_sent,
        bytes_received=row.bytes_received,
    )
    return Attempt(
        id=AttemptId(row.id),
        number=row.number,
        kind=AttemptKind(row.kind),
        outcome=outcome,
        charged=row.charged,
        started_at=row.started_at,
        finished_at=row.finished_at,
        worker=row.worker,
        fingerprint=row.fingerprint,
    )


def class_named(name: str) -> OutcomeClass:
    """The class of that name. One that a newer version wrote is shown by its name, and known to be nothing more."""
    return CLASSES.get(name) or OutcomeClass(name, "a class that this version does not know", retryable=False)


def ending_of(row: Any) -> tuple[Ending, Progress]:
    """How a generation ended, and its counters then, from a row of ``endings``."""
    fields: Mapping[str, Any] = row._mapping
    ending = Ending(
        state=TaskState(row.state),
        finished_at=row.finished_at,
        reason=DeadReason(row.reason) if row.reason else None,
        cls=fields["class"],
        worst_partial=Partial(row.partial),
        attempt_id=AttemptId(row.attempt_id) if row.attempt_id else None,
    )
    progress = Progress(
        generation=row.generation,
        seq=row.seq,
        number=row.number,
        charged=row.charged,
        lost=row.lost,
        deferred=row.deferred,
    )
    return ending, progress


def revised(spec: TaskSpec, row: Any) -> TaskSpec:
    """``spec`` with what an edited redrive changed."""
    return replace(
        spec,
        target_url=row.target_url,
        origin=row.origin,
        target_host=row.target_host,
        headers=pairs_of(row.headers),
        body=row.body,
        content_type=row.content_type,
        retries=row.retries,
        timeout=timedelta(seconds=row.timeout),
    )


def pairs_blob(pairs: tuple[tuple[str, str], ...]) -> bytes | None:
    """Headers as stored; ``None`` for none."""
    return _encode(pairs) if pairs else None


def pairs_of(blob: bytes | None) -> tuple[tuple[str, str], ...]:
    return _pairs.decode(blob) if blob else ()


def ids_blob(ids: tuple[TaskId, ...]) -> bytes:
    """Task ids as an idempotency key keeps them."""
    return b"".join(id_.bytes for id_ in ids)


def ids_of(blob: bytes) -> tuple[TaskId, ...]:
    return tuple(TaskId(UUID(bytes=blob[start : start + 16])) for start in range(0, len(blob), 16))


def _events_text(events: frozenset[WebhookEvent]) -> str | None:
    return None if events == ENDINGS_TOLD else ",".join(sorted(event.value for event in events))


@lru_cache(maxsize=1024)
def _seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def _events_of(value: str | None) -> frozenset[WebhookEvent]:
    if value is None:
        return ENDINGS_TOLD
    # Of events that a newer version knows, this one cannot tell.
    return frozenset(event for event in WebhookEvent if event.value in value.split(","))


def _backoff_blob(backoff: Backoff | None) -> bytes | None:
    return _encode(backoff_resource(backoff)) if backoff is not None else None


def _backoff_of(blob: bytes | None) -> Backoff | None:
    if blob is None:
        return None
    fields = msgspec.json.decode(blob)
    return Backoff(
        type=BackoffType(fields["type"]),
        initial=timedelta(seconds=fields["initial"]),
        factor=fields["factor"],
        max=timedelta(seconds=fields["max"]),
        jitter=Jitter(fields["jitter"]),
        schedule=tuple(timedelta(seconds=span) for span in fields["schedule"]),
    )
