"""Queues over HTTP: what holds in them, and how they stand."""

from __future__ import annotations

import re
from functools import partial

from msgspec import UNSET

from taskqueue.core.queue import Bounds, Queue, Rate
from taskqueue.store import operations, queues, stats
from taskqueue.store.purges import Waiting
from taskqueue.web import queue_resources
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.defaults import check_defaults
from taskqueue.web.fields import NAME, QUEUE_NAME
from taskqueue.web.models import Nothing
from taskqueue.web.new_tasks import Context
from taskqueue.web.operations import Answer, operation, verb
from taskqueue.web.problems import NOT_FOUND, Faults, Problem
from taskqueue.web.progress import BEGUN, begun
from taskqueue.web.queue_models import DefineFlowKey, DefineQueue, Paging
from taskqueue.web.queue_resources import QueueAnswer, queue_answer
from taskqueue.web.reading import either
from taskqueue.web.service import Service

_TAG = "queues"
_NAME = re.compile(NAME)
_ONE = Answer("The queue", QueueAnswer)


@operation(
    "GET",
    "/v1/queues",
    summary="List the queues",
    tag=_TAG,
    scope=Scope.READ,
    query=Paging,
    answers={200: Answer("One page of queues, by name", queue_resources.Queues)},
)
def list_queues(service: Service, call: Call) -> Reply:
    """Those that are defined, and those that a task on record names. Each kind of task is counted up to 500 here."""
    asked, project = call.query(Paging), call.caller.project
    with service.database.read() as conn:
        page = queues.search(conn, project, cursor=either(asked.cursor, None), limit=asked.limit)
        names = [queue.name for queue in page.items]
        found = stats.of_queues(conn, service.database, project, names, most=stats.MOST_OF_MANY)
    items = [queue_answer(queue, found[queue.name]) for queue in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@operation(
    "GET",
    "/v1/queues/{name}",
    summary="Look at a queue",
    tag=_TAG,
    scope=Scope.READ,
    answers={200: _ONE},
)
def get_queue(service: Service, call: Call) -> Reply:
    """A queue that nobody defined is there once a task names it; `default` always is."""
    with service.database.read() as conn:
        queue = queues.find(conn, call.caller.project, queue_named(call))
    return _answer(service, _known(queue))


@operation(
    "PUT",
    "/v1/queues/{name}",
    summary="Define a queue",
    tag=_TAG,
    scope=Scope.MANAGE,
    body=DefineQueue,
    body_required=True,
    answers={200: Answer("The queue as it is now", QueueAnswer)},
    example={
        "concurrency": 20,
        "rate": {"limit": 100, "period": "1m", "burst": 10},
        "defaults": {"retries": 5, "retryPolicy": "any-error", "webhookUrl": "https://your-app.example/api/ended"},
    },
)
def define_queue(service: Service, call: Call) -> Reply:
    """The queue is what the request says and nothing else: a limit or default that is left out is gone. Defaults are
    checked as a submit would be, and given to what is submitted from then on."""
    asked, name, project = call.body(DefineQueue), queue_named(call), call.caller.project
    _check(asked, name, service, project)
    defaults = asked.defaults.text if asked.defaults is not UNSET and asked.defaults.all_given else None
    queue = Queue(project=project, name=name, bounds=bounds(asked), on_death=asked.on_death, defaults=defaults)
    with service.database.begin() as conn:
        queue = queues.define(conn, service.database, queue)
    service.defaults.forget(project)
    return _answer(service, queue)


@operation(
    "DELETE",
    "/v1/queues/{name}",
    summary="Forget what was said about a queue",
    tag=_TAG,
    scope=Scope.MANAGE,
    answers={204: Answer("It has no limits and no defaults any more")},
)
def delete_queue(service: Service, call: Call) -> Reply:
    """Its tasks stay, and go on without limits; to be rid of them, purge it first."""
    with service.database.begin() as conn:
        removed = queues.remove(conn, service.database, call.caller.project, queue_named(call))
    service.defaults.forget(call.caller.project)
    if not removed:
        raise Problem(NOT_FOUND, "nothing is defined for a queue of this name")
    return Reply(204)


@verb("/v1/queues/{name}/pause", summary="Pause a queue", tag=_TAG, answers={200: _ONE})
def pause_queue(service: Service, call: Call) -> Reply:
    """No attempt of it starts until it is resumed; those that run are left alone. Webhooks go on."""
    return _set_paused(service, call, paused=True)


@verb("/v1/queues/{name}/resume", summary="Resume a queue", tag=_TAG, answers={200: _ONE})
def resume_queue(service: Service, call: Call) -> Reply:
    """Its attempts start again, as far as its limits allow."""
    return _set_paused(service, call, paused=False)


@verb("/v1/queues/{name}/purge", summary="Cancel all that waits in a queue", tag=_TAG, answers={202: BEGUN})
def purge_queue(service: Service, call: Call) -> Reply:
    """Every task that waits now is cancelled, as if by hand; one that runs, or is submitted later, is left alone."""
    call.body(Nothing)
    name, project = queue_named(call), call.caller.project
    with service.database.begin() as conn:
        _known(queues.find(conn, project, name))
        started = operations.start_purge(conn, service.database, project, Waiting(queue=name))
    return begun(started)


OPERATIONS = (list_queues, get_queue, define_queue, delete_queue, pause_queue, resume_queue, purge_queue)


def queue_named(call: Call) -> str:
    """The name of a queue in the path."""
    return call.named(_NAME, QUEUE_NAME)


def bounds(asked: DefineFlowKey) -> Bounds:
    """The bounds that a request names."""
    rate = None
    if asked.rate is not UNSET:
        rate = Rate(asked.rate.limit, asked.rate.period, either(asked.rate.burst, None))
    return Bounds(concurrency=either(asked.concurrency, None), rate=rate, paused=asked.paused)


def _check(asked: DefineQueue, name: str, service: Service, project: str) -> None:
    """Raise a 422 that lists all that is wrong."""
    faults = Faults()
    if asked.defaults is not UNSET:
        context = Context(project, service.allowed, service.functions)
        check_defaults(asked.defaults, name, faults, context, partial(service.defaults.of, project))
    faults.raise_any()


def _set_paused(service: Service, call: Call, *, paused: bool) -> Reply:
    call.body(Nothing)
    with service.database.begin() as conn:
        queue = _known(queues.find(conn, call.caller.project, queue_named(call)))
        if queue.bounds.paused != paused:
            queue = queues.set_paused(conn, service.database, queue, paused=paused)
    return _answer(service, queue)


def _known(queue: Queue | None) -> Queue:
    if queue is None:
        raise Problem(NOT_FOUND, "no queue of this name is defined, and no task on record names it")
    return queue


def _answer(service: Service, queue: Queue) -> Reply:
    with service.database.read() as conn:
        found = stats.of_queues(conn, service.database, queue.project, [queue.name])
    return Reply(200, queue_answer(queue, found[queue.name]))
