"""Why a task is where it is, over HTTP."""

from __future__ import annotations

from dataclasses import replace

from taskqueue.core.explain import Explanation, explain
from taskqueue.core.task import TaskId, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import tasks
from taskqueue.store.standing import standing
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.operations import Answer, operation
from taskqueue.web.service import Service
from taskqueue.web.tasks import unknown_task


@operation(
    "GET",
    "/v1/tasks/{id}/explain",
    summary="Explain a task",
    tag="tasks",
    scope=Scope.READ,
    answers={200: Answer("Why it is where it is, and what comes next", Explanation)},
)
def explain_task(service: Service, call: Call) -> Reply:
    """In words and in data: what keeps the task, what happens next and when, every attempt that is still to come, what
    decided over its last one, and what a person can do. The plan supposes that further attempts end as the last failure
    did; its latest times are those of attempts that take all their time."""
    with service.database.read() as conn:
        task = tasks.get(conn, call.caller.project, TaskId(call.thing()))
        if task is None:
            raise unknown_task()
        now = service.database.now(conn)
        stands = standing(conn, task, now=now)
        tried = [
            attempt
            for generation, attempt in tasks.attempts(conn, call.caller.project, task.id)
            if generation == task.progress.generation
        ]
        followed = task.state is TaskState.SUCCEEDED and task.spec.on_success is not None
        chain = tasks.chain(conn, call.caller.project, task.id) if followed else None
    stands = replace(stands, attempts=tried, chain=chain or ())
    limits = Limits(lost_limit=service.settings.lost_limit)
    return Reply(200, explain(task, now=now, limits=limits, standing=stands))


OPERATIONS = (explain_task,)
