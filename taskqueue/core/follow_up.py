"""Follow-ups: the task to submit because another one ended, and what it is told of that."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NoReturn

from taskqueue.core.outcome import Response
from taskqueue.core.resource import attempt_resource, task_resource
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Attempt, Kind, NewTask, Task, TaskSpec, TaskState
from taskqueue.core.webhook import settled, with_metadata

JSON = "application/json"
MAX_WITH_EXCERPTS = 256 * 1024  # bytes of a body
_WITHOUT_BODY = frozenset({"GET", "DELETE"})


def follow_up(settlement: Settlement, earlier: Sequence[Attempt], *, now: datetime) -> NewTask | None:
    """The task that an ending asks for, if it asks for one; it belongs in the transaction that writes the ending.

    ``earlier`` are the attempts of this generation that had closed before; no success tells of them.
    """
    if settlement.follow_up is None:
        return None
    asked, task = settlement.follow_up.task, settled(settlement, now=now)
    has_body = asked.spec.method not in _WITHOUT_BODY
    attempts = [*earlier, settlement.attempt] if settlement.attempt is not None else earlier
    spec = replace(
        asked.spec,
        project=task.spec.project,
        kind=Kind.TASK,
        body=_body(task, attempts, asked.spec, now=now) if has_body else None,
        content_type=JSON if has_body else None,
        traceparent=task.spec.traceparent,
        parent_id=task.id,
        root_id=task.spec.root_id or task.id,
    )
    return replace(asked, spec=spec)


def content(spec: TaskSpec) -> bytes:
    """What a task delivers, as a member of a JSON object: ``payload`` as it was sent, or else ``body`` or
    ``bodyBase64``."""
    body = spec.body
    if body is None:
        return b'"payload":null'
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return b'"bodyBase64":"%s"' % base64.b64encode(body)
    # Spliced in as it was sent: parsing and printing it again could change a number.
    return b'"payload":%s' % body if _is_json(text, spec.content_type) else b'"body":%s' % json.dumps(text).encode()


def _body(task: Task, attempts: Sequence[Attempt], asked: TaskSpec, *, now: datetime) -> bytes:
    told = content(asked if asked.body is not None else task.spec)
    result = _result(task, now=now) if task.state is TaskState.SUCCEEDED else None
    whole = _printed(task, attempts, result, told, now=now)
    if len(whole) <= MAX_WITH_EXCERPTS:
        return whole
    shorter = replace(task, last_attempt=_without_excerpt(task.last_attempt) if task.last_attempt else None)
    return _printed(shorter, [_without_excerpt(attempt) for attempt in attempts], result, told, now=now)


def _result(task: Task, *, now: datetime) -> bytes:
    return _text(task_resource(task, now=now)["result"])


def _printed(task: Task, attempts: Sequence[Attempt], result: bytes | None, told: bytes, *, now: datetime) -> bytes:
    ended = with_metadata(task_resource(task, now=now), task.spec.metadata)
    if result is not None:
        return b'{"task":%s,"result":%s,%s}' % (ended, result, told)
    return b'{"task":%s,"attempts":%s,%s}' % (ended, _text([attempt_resource(each) for each in attempts]), told)


def _without_excerpt(attempt: Attempt) -> Attempt:
    response = attempt.outcome.response
    if response is None:
        return attempt
    bare = Response(status=response.status, truncated=True)
    return replace(attempt, outcome=replace(attempt.outcome, response=bare))


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _is_json(text: str, content_type: str | None) -> bool:
    """True for what says that it is JSON, and is."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type != JSON and not media_type.endswith("+json"):
        return False
    try:
        _SYNTAX.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


# Only to see whether it can be read: no number is made, however long it is written.
_SYNTAX = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
