"""Tasks over HTTP: submit, look, find, cancel, run now."""

from __future__ import annotations

from datetime import datetime, timedelta

from taskqueue.core.task import Task, TaskId
from taskqueue.store import search, tasks
from taskqueue.store.search import TaskFilter
from taskqueue.store.submissions import Receipt
from taskqueue.web import resources
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.models import FindTasks, Look, Nothing, SubmitBatch, SubmitTask
from taskqueue.web.operations import Answer, operation, verb
from taskqueue.web.problems import CONFLICT, NOT_FOUND, Problem
from taskqueue.web.reading import either
from taskqueue.web.service import Service
from taskqueue.web.submissions import many_tasks, one_task

_TAG = "tasks"
_REPLAYED = {"Idempotency-Replayed": "`true` when the idempotency key was known: these are the tasks of the first time"}
_KEY = {"Idempotency-Key": "makes the request repeat-safe: the same key and body again return the first tasks"}
_TRACE = {"traceparent": "a W3C trace that the attempts continue"}
_ONE = Answer("The task", resources.TaskAnswer)


@operation(
    "POST",
    "/v1/tasks",
    summary="Submit a task",
    tag=_TAG,
    scope=Scope.SUBMIT,
    body=SubmitTask,
    body_required=True,
    headers=_KEY | _TRACE,
    answers={
        202: Answer("Stored for good", resources.TaskAnswer, {"Location": "where the task can be seen", **_REPLAYED})
    },
    example={
        "targetUrl": "https://your-app.example/api/process",
        "payload": {"jobId": "a1"},
        "webhookUrl": "https://your-app.example/api/on-complete",
        "retries": 3,
        "timeout": "2m",
        "retryPolicy": [{"match": ["throttled", "status:409"], "charge": False, "within": "1h"}],
        "verdict": [{"when": {"status": "2xx", "jsonPath": "$.error"}, "outcome": "fail"}],
        "reconcile": {"url": "https://your-app.example/api/was-it-done", "onUnknown": "hold"},
        "onFailure": {"match": ["partial:likely"], "task": {"targetUrl": "https://your-app.example/api/undo"}},
    },
)
def submit_task(service: Service, call: Call) -> Reply:
    """202 means that the task survives a power loss. After a 503 nobody knows: repeat it with the same key."""
    receipt = service.commits.submit(one_task(call, service))
    (task,) = receipt.tasks
    headers = {"Location": f"/v1/tasks/{task.id}", **_replayed(receipt)}
    return Reply(202, resources.whole_task(task, now=_now(service, receipt)), headers)


@operation(
    "POST",
    "/v1/tasks/batch",
    summary="Submit up to 1000 tasks",
    tag=_TAG,
    scope=Scope.SUBMIT,
    body=SubmitBatch,
    body_required=True,
    batch=True,
    headers=_KEY | _TRACE,
    answers={202: Answer("All of them are stored for good", resources.BatchAnswer, _REPLAYED)},
    example={"tasks": [{"targetUrl": "https://your-app.example/api/process", "payload": {"jobId": "a1"}}]},
)
def submit_tasks(service: Service, call: Call) -> Reply:
    """All tasks are accepted or none; the problem document points at each bad one."""
    receipt = service.commits.submit(many_tasks(call, service))
    now = _now(service, receipt)
    answer: resources.BatchAnswer = {"tasks": [resources.brief_task(task, now=now) for task in receipt.tasks]}
    return Reply(202, answer, _replayed(receipt))


@operation(
    "GET",
    "/v1/tasks/{id}",
    summary="Look at a task",
    tag=_TAG,
    scope=Scope.READ,
    query=Look,
    answers={200: _ONE},
)
def get_task(service: Service, call: Call) -> Reply:
    """With `wait` the answer is held until the task has ended. A busy service answers sooner: ask again then."""
    seconds = either(call.query(Look).wait, timedelta(0)).total_seconds()
    task_id = TaskId(call.thing())
    waiter = service.waiting.enter(call.caller.project, task_id) if seconds else None
    if waiter is None:
        return _whole(*_found(service, call))
    try:
        task, now = _found(service, call)
        if task is not None and not task.state.ended:
            waiter.wait(seconds)
            task, now = _found(service, call)
    finally:
        service.waiting.leave(waiter)
    return _whole(task, now)


@operation(
    "GET",
    "/v1/tasks/{id}/attempts",
    summary="Every attempt of a task that is over",
    tag=_TAG,
    scope=Scope.READ,
    answers={200: Answer("The attempts, oldest first", resources.Attempts)},
)
def list_attempts(service: Service, call: Call) -> Reply:
    """Attempts of every generation, with outcome class, error, timings by phase and an excerpt of the answer.

    Of more than a thousand, the newest thousand.
    """
    project, task_id = call.caller.project, TaskId(call.thing())
    with service.database.read() as conn:
        if tasks.get(conn, project, task_id) is None:
            raise unknown_task()
        found = tasks.attempts(conn, project, task_id)
    return Reply(200, {"items": [resources.attempt_answer(generation, attempt) for generation, attempt in found]})


@operation(
    "GET",
    "/v1/tasks/{id}/webhooks",
    summary="The webhooks of a task",
    tag=_TAG,
    scope=Scope.READ,
    answers={200: Answer("The webhook deliveries, oldest first", resources.Webhooks)},
)
def list_webhooks(service: Service, call: Call) -> Reply:
    """A webhook is a task of its own: look at its id to see its attempts. Of more than a thousand, the newest."""
    project, task_id = call.caller.project, TaskId(call.thing())
    with service.database.read() as conn:
        if tasks.get(conn, project, task_id) is None:
            raise unknown_task()
        found, now = tasks.webhooks(conn, project, task_id), service.database.now(conn)
    return Reply(200, {"items": [resources.brief_task(task, now=now) for task in found]})


@operation(
    "GET",
    "/v1/tasks/{id}/chain",
    summary="A task and its family",
    tag=_TAG,
    scope=Scope.READ,
    answers={200: Answer("All that follow from the same first task, oldest first", resources.Chain)},
)
def get_chain(service: Service, call: Call) -> Reply:
    """Follow-ups carry `parentId` and `rootId`: any member of a chain leads to all. Of more than a thousand, the oldest
    thousand; those that are past their retention are missing. Payloads are left out."""
    with service.database.read() as conn:
        found = tasks.chain(conn, call.caller.project, TaskId(call.thing()))
        now = service.database.now(conn)
    if found is None:
        raise unknown_task()
    return Reply(200, {"items": [resources.brief_task(task, now=now) for task in found]})


@operation(
    "GET",
    "/v1/tasks",
    summary="Find tasks",
    tag=_TAG,
    scope=Scope.READ,
    query=FindTasks,
    answers={200: Answer("One page of tasks, newest first", resources.Tasks)},
)
def find_tasks(service: Service, call: Call) -> Reply:
    """Follow `nextCursor` with the same conditions for the next page. Payloads are left out."""
    asked = call.query(FindTasks)
    wanted = TaskFilter(
        kind=asked.kind,
        status=either(asked.status, None),
        queue=either(asked.queue, None),
        label=either(asked.label, None),
        outcome=either(asked.outcome, None),
        created_after=either(asked.created_after, None),
        created_before=either(asked.created_before, None),
        target_host=either(asked.target_host, None),
    )
    with service.database.read() as conn:
        now = service.database.now(conn)
        cursor = either(asked.cursor, None)
        page = search.search(conn, call.caller.project, wanted, cursor=cursor, limit=asked.limit, now=now)
    items = [resources.brief_task(task, now=now) for task in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@verb("/v1/tasks/{id}/cancel", summary="Cancel a task", tag=_TAG, answers={200: _ONE}, problems=(CONFLICT,))
def cancel_task(service: Service, call: Call) -> Reply:
    """No new attempt starts, and a running one is abandoned. A task that has ended is left as it is: 409."""
    call.body(Nothing)
    with service.database.begin() as conn:
        task = tasks.cancel(conn, service.database, call.caller.project, TaskId(call.thing()))
        now = service.database.now(conn)
    return _whole(task, now)


@verb(
    "/v1/tasks/{id}/run-now", summary="Pull a waiting task forward", tag=_TAG, answers={200: _ONE}, problems=(CONFLICT,)
)
def run_task_now(service: Service, call: Call) -> Reply:
    """The next attempt starts as soon as a worker is free. A task that runs, has ended, or waits behind others of its
    ordering key is left as it is: 409."""
    call.body(Nothing)
    with service.database.begin() as conn:
        task = tasks.run_now(conn, service.database, call.caller.project, TaskId(call.thing()))
        now = service.database.now(conn)
    return _whole(task, now)


OPERATIONS = (
    submit_task,
    submit_tasks,
    find_tasks,
    get_task,
    list_attempts,
    list_webhooks,
    get_chain,
    cancel_task,
    run_task_now,
)


def _found(service: Service, call: Call) -> tuple[Task | None, datetime]:
    with service.database.read() as conn:
        return tasks.get(conn, call.caller.project, TaskId(call.thing())), service.database.now(conn)


def _whole(task: Task | None, now: datetime) -> Reply:
    if task is None:
        raise unknown_task()
    return Reply(200, resources.whole_task(task, now=now))


def unknown_task() -> Problem:
    """The 404 of an id that no task of the caller has."""
    return Problem(NOT_FOUND, "there is no task with this id; an ended task is deleted after its retention")


def _replayed(receipt: Receipt) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if receipt.replayed else {}


def _now(service: Service, receipt: Receipt) -> datetime:
    """The database's clock at the submit; the rows that were just made tell it without another look."""
    if not receipt.replayed:
        return max(task.created_at for task in receipt.tasks)
    with service.database.read() as conn:
        return service.database.now(conn)
