"""Answers as the API prints them, beyond what the core renders for everybody."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Literal, NotRequired, TypedDict, cast

from msgspec import Raw

from taskqueue.core.asked import FollowUpResource
from taskqueue.core.resource import AttemptResource, ErrorResource, TaskResource, attempt_resource, task_resource
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Attempt, Task, TaskSpec
from taskqueue.store.dead_letters import DeadLetter, Group
from taskqueue.store.operations import Operation, Wanted
from taskqueue.store.purges import Waiting
from taskqueue.web import scan
from taskqueue.web.contents import JSON


class TaskAnswer(TaskResource):
    """A task: what was submitted, and how it stands."""

    payload: NotRequired[Raw]
    body: NotRequired[str]
    bodyBase64: NotRequired[str]
    metadata: NotRequired[Raw]


class AttemptAnswer(AttemptResource):
    """One attempt that is over."""

    generation: int


class Tasks(TypedDict):
    """Some of the tasks that were asked for."""

    items: list[TaskAnswer]
    nextCursor: str | None


class BatchAnswer(TypedDict):
    """The tasks of a batch, in the order of the request, without their payloads."""

    tasks: list[TaskAnswer]


class Chain(TypedDict):
    """A task, those before it and those that followed, oldest first."""

    items: list[TaskAnswer]


class Attempts(TypedDict):
    """Every attempt that is over, oldest first; of more than a thousand, the newest thousand."""

    items: list[AttemptAnswer]


class Webhooks(TypedDict):
    """The deliveries that tell of a task, oldest first; each is a task itself."""

    items: list[TaskAnswer]


DeadLetterAnswer = TypedDict(
    "DeadLetterAnswer",
    {
        "id": str,
        "kind": str,
        "taskId": str,
        "generation": int,
        "reason": str,
        "class": str | None,
        "partialWork": str,
        "fingerprint": str,
        "diedAt": str,
        "redrivenAt": str | None,
        "compensationId": str | None,  # the task that was submitted because of this death
        "error": ErrorResource | None,
        "task": TaskAnswer,
        "attempts": NotRequired[list[AttemptAnswer]],
        "links": dict[str, str],
    },
)


class DeadLetters(TypedDict):
    """Some of the dead letters that were asked for."""

    items: list[DeadLetterAnswer]
    nextCursor: str | None


GroupAnswer = TypedDict(
    "GroupAnswer",
    {
        "fingerprint": str,
        "count": int,
        "class": str | None,
        "reason": str,
        "targetHost": str,
        "errorType": str | None,
        "errorMessage": str | None,
        "oldest": str,
        "newest": str,
        "exampleId": str,
        "links": dict[str, str],
    },
)


class Groups(TypedDict):
    """Dead letters by their fingerprints, the most frequent first; class, reason and error are of the newest one."""

    items: list[GroupAnswer]
    nextCursor: str | None


class Count(TypedDict):
    """How many would be redriven."""

    count: int


class OperationAnswer(TypedDict):
    """Bulk work and how far it is: each of what matched at its start ends done, failed or skipped."""

    id: str
    verb: str
    status: Literal["running", "finished"]
    conditions: dict[str, str]  # as they were asked; `before` is the start of the operation at the latest
    matched: int
    done: int
    skipped: int  # others were faster with these; counted at the end
    failed: int  # these stand as they were: the same done to one of them by hand tells why
    ratePerSecond: float | None
    createdAt: str
    finishedAt: str | None
    links: dict[str, str]


class Health(TypedDict):
    """A sign of life."""

    status: str


class Readiness(TypedDict):
    """Whether requests can be served, and what an operator should know."""

    status: str
    database: str
    warnings: list[str]


def brief_task(task: Task, *, now: datetime) -> TaskAnswer:
    """``task`` without what it delivers, for lists."""
    answer = cast(TaskAnswer, task_resource(task, now=now))
    if task.spec.metadata is not None:
        answer["metadata"] = Raw(task.spec.metadata)
    return answer


def whole_task(task: Task, *, now: datetime) -> TaskAnswer:
    """``task`` with what it and the tasks that are to follow it deliver: as ``payload`` if it is JSON, spliced in as it
    came, else as text or base64."""
    answer = brief_task(task, now=now)
    _add_content(answer, task.spec)
    return answer


def _add_content(answer: TaskAnswer | FollowUpResource, spec: TaskSpec) -> None:
    body = spec.body
    if body is None:
        pass
    elif spec.content_type == JSON and _readable(body):
        answer["payload"] = Raw(body)
    else:
        try:
            answer["body"] = body.decode()
        except UnicodeDecodeError:
            answer["bodyBase64"] = base64.b64encode(body).decode()
    for shown, follow_up in ((answer["onFailure"], spec.on_failure), (answer["onSuccess"], spec.on_success)):
        if shown is not None and follow_up is not None:
            _add_content(shown["task"], follow_up.task.spec)
            if follow_up.task.spec.metadata is not None:
                shown["task"]["metadata"] = Raw(follow_up.task.spec.metadata)


def attempt_answer(generation: int, attempt: Attempt) -> AttemptAnswer:
    return {**attempt_resource(attempt), "generation": generation}


def dead_letter_answer(letter: DeadLetter, task: TaskAnswer) -> DeadLetterAnswer:
    """``letter`` with ``task`` as much of it as is wanted."""
    return {
        "id": str(letter.id),
        "kind": letter.task.spec.kind.value,
        "taskId": str(letter.task.id),
        "generation": letter.generation,
        "reason": letter.reason.value,
        "class": letter.cls,
        "partialWork": letter.worst_partial.label,
        "fingerprint": letter.fingerprint,
        "diedAt": rfc3339(letter.died_at),
        "redrivenAt": rfc3339(letter.redriven_at) if letter.redriven_at else None,
        "compensationId": str(letter.compensation_id) if letter.compensation_id else None,
        "error": task["error"],
        "task": task,
        "links": _links(letter),
    }


def group_answer(group: Group, *, now: datetime) -> GroupAnswer:
    """``group`` with its newest death for an example."""
    letter = group.example
    error = task_resource(letter.task, now=now)["error"]
    return {
        "fingerprint": group.fingerprint,
        "count": group.count,
        "class": letter.cls,
        "reason": letter.reason.value,
        "targetHost": letter.task.spec.target_host,
        "errorType": error["type"] if error else None,
        "errorMessage": error["message"] if error else None,
        "oldest": rfc3339(group.oldest),
        "newest": rfc3339(group.newest),
        "exampleId": str(letter.id),
        "links": {
            "deadLetters": f"/v1/dead-letters?fingerprint={group.fingerprint}",
            "example": f"/v1/dead-letters/{letter.id}",
        },
    }


def _links(letter: DeadLetter) -> dict[str, str]:
    links = {"self": f"/v1/dead-letters/{letter.id}", "task": f"/v1/tasks/{letter.task.id}"}
    if letter.compensation_id is not None:
        links["compensation"] = f"/v1/tasks/{letter.compensation_id}"
    return links


def operation_answer(operation: Operation) -> OperationAnswer:
    return {
        "id": str(operation.id),
        "verb": operation.verb,
        "status": "finished" if operation.finished_at else "running",
        "conditions": _conditions(operation.wanted),
        "matched": operation.matched,
        "done": operation.done,
        "skipped": operation.skipped,
        "failed": operation.failed,
        "ratePerSecond": operation.rate,
        "createdAt": rfc3339(operation.created_at),
        "finishedAt": rfc3339(operation.finished_at) if operation.finished_at else None,
        "links": {"self": f"/v1/operations/{operation.id}"},
    }


def _conditions(wanted: Wanted) -> dict[str, str]:
    asked: dict[str, object]
    if isinstance(wanted, Waiting):
        asked = {"queue": wanted.queue, "flowKey": wanted.flow_key}
    else:
        asked = {
            "taskId": wanted.task_id,
            "kind": wanted.kind,
            "queue": wanted.queue,
            "class": wanted.cls,
            "reason": wanted.reason,
            "fingerprint": wanted.fingerprint,
            "targetHost": wanted.target_host,
            "label": wanted.label,
            "after": wanted.after and rfc3339(wanted.after),
            "before": wanted.before and rfc3339(wanted.before),
        }
    return {name: str(value) for name, value in asked.items() if value is not None}


def _readable(body: bytes) -> bool:
    """Whether ``body`` can stand in an answer as it is: a body that was given as text may only claim to be JSON."""
    try:
        scan.check(body)
    except scan.UnreadableJson:
        return False
    return True
