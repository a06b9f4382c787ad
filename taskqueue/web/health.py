"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

from taskqueue.core.errors import StoreError
from taskqueue.web import resources
from taskqueue.web.calls import Call, Reply
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import UNAVAILABLE, unavailable
from taskqueue.web.service import Service

_TAG = "health"


@operation(
    "GET",
    "/healthz",
    summary="Is the process alive?",
    tag=_TAG,
    scope=None,
    answers={200: Answer("It is", resources.Health)},
)
def health(_service: Service, _call: Call) -> Reply:
    """Says nothing about the store: a process that lost its database must not be restarted for that."""
    return Reply(200, {"status": "alive"})


@operation(
    "GET",
    "/readyz",
    summary="Can requests be served?",
    tag=_TAG,
    scope=None,
    answers={200: Answer("They can", resources.Readiness)},
    problems=(UNAVAILABLE,),
)
def readiness(service: Service, _call: Call) -> Reply:
    """The store can be written and is at the right revision. Warnings name what is allowed on purpose. Where API keys
    are asked for, neither a warning nor a problem says what only the operator should know."""
    database, settings = service.database, service.settings
    asks = service.callers.asks
    try:
        warnings = database.check(allow_unsafe=settings.allow_unsafe_database)
        database.probe()
    except StoreError as error:
        raise unavailable("the store cannot serve; run: taskqueue doctor" if asks else str(error)) from error
    if settings.allowed_targets:
        which = "TASKQUEUE_ALLOWED_TARGETS names them" if asks else settings.allowed_targets
        warnings.append(f"private targets may be called: {which}")
    answer: resources.Readiness = {"status": "ready", "database": database.dialect_name, "warnings": warnings}
    return Reply(200, answer)


OPERATIONS = (health, readiness)
