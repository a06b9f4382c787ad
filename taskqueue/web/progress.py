"""Bulk work over HTTP: that it has begun, and how far it is."""

from __future__ import annotations

from taskqueue.store import operations
from taskqueue.store.operations import Operation, OperationId
from taskqueue.web import resources
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import NOT_FOUND, Problem
from taskqueue.web.service import Service

BEGUN = Answer("The work has begun", resources.OperationAnswer, {"Location": "where its progress can be seen"})


@operation(
    "GET",
    "/v1/operations/{id}",
    summary="Look at bulk work",
    tag="operations",
    scope=Scope.READ,
    answers={200: Answer("The operation and its progress", resources.OperationAnswer)},
)
def get_operation(service: Service, call: Call) -> Reply:
    """Of what `matched` at the start, each ends `done`, `skipped` (somebody else was faster; counted at the end) or
    `failed` (a fault of ours; it stands as it was)."""
    with service.database.read() as conn:
        found = operations.get(conn, call.caller.project, OperationId(call.thing()))
    if found is None:
        raise Problem(NOT_FOUND, "there is no operation with this id; a finished one is deleted after its retention")
    return Reply(200, resources.operation_answer(found))


OPERATIONS = (get_operation,)


def begun(started: Operation) -> Reply:
    """What whoever asked for the work is told, while workers carry it on."""
    return Reply(202, resources.operation_answer(started), {"Location": f"/v1/operations/{started.id}"})
