"""Flow keys over HTTP: what holds for all that shares one, and how it stands."""

from __future__ import annotations

import re

from taskqueue.core.queue import FlowKey
from taskqueue.store import flow_keys, operations, stats
from taskqueue.store.purges import Waiting
from taskqueue.web import queue_resources
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.fields import VISIBLE_ASCII, VISIBLE_KEY
from taskqueue.web.models import Nothing
from taskqueue.web.operations import Answer, operation, verb
from taskqueue.web.problems import NOT_FOUND, Problem
from taskqueue.web.progress import BEGUN, begun
from taskqueue.web.queue_models import DefineFlowKey, Paging
from taskqueue.web.queue_resources import FlowKeyAnswer, flow_key_answer
from taskqueue.web.queues import bounds
from taskqueue.web.reading import either
from taskqueue.web.service import Service
from taskqueue.web.targets import flow_key_of

_TAG = "flow keys"
_KEY = re.compile(VISIBLE_ASCII)
_ONE = Answer("The flow key", FlowKeyAnswer)


@operation(
    "GET",
    "/v1/flow-keys",
    summary="List the flow keys",
    tag=_TAG,
    scope=Scope.READ,
    query=Paging,
    answers={200: Answer("One page of flow keys, by key", queue_resources.FlowKeys)},
)
def list_flow_keys(service: Service, call: Call) -> Reply:
    """Those that are defined: every origin that is called is a flow key, too. Each kind of task is counted up to 500
    here."""
    asked, project = call.query(Paging), call.caller.project
    with service.database.read() as conn:
        page = flow_keys.search(conn, project, cursor=either(asked.cursor, None), limit=asked.limit)
        keys = [flow_key.key for flow_key in page.items]
        found = stats.of_flow_keys(conn, service.database, project, keys, most=stats.MOST_OF_MANY)
    items = [flow_key_answer(flow_key, found[flow_key.key]) for flow_key in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@operation(
    "GET",
    "/v1/flow-keys/{key}",
    summary="Look at a flow key",
    tag=_TAG,
    scope=Scope.READ,
    answers={200: _ONE},
)
def get_flow_key(service: Service, call: Call) -> Reply:
    """One that nobody defined is there while a task waits or runs with it. Slashes in a key may be escaped or not."""
    with service.database.read() as conn:
        flow_key = flow_keys.find(conn, call.caller.project, _key(call))
    return _answer(service, _known(flow_key))


@operation(
    "PUT",
    "/v1/flow-keys/{key}",
    summary="Define a flow key",
    tag=_TAG,
    scope=Scope.MANAGE,
    body=DefineFlowKey,
    body_required=True,
    answers={200: Answer("The flow key as it is now", FlowKeyAnswer)},
    example={"concurrency": 5, "rate": {"limit": 10, "period": "1s"}},
)
def define_flow_key(service: Service, call: Call) -> Reply:
    """The limits are those of the request and no others: one that is left out is gone. For a target whose tasks name
    no key, define its origin, as `https://your-app.example`."""
    asked = call.body(DefineFlowKey)
    flow_key = FlowKey(project=call.caller.project, key=_key(call), bounds=bounds(asked))
    with service.database.begin() as conn:
        flow_key = flow_keys.define(conn, service.database, flow_key)
    return _answer(service, flow_key)


@operation(
    "DELETE",
    "/v1/flow-keys/{key}",
    summary="Forget what was said about a flow key",
    tag=_TAG,
    scope=Scope.MANAGE,
    answers={204: Answer("Nothing is defined for it any more")},
)
def delete_flow_key(service: Service, call: Call) -> Reply:
    """Its tasks stay."""
    with service.database.begin() as conn:
        removed = flow_keys.remove(conn, service.database, call.caller.project, _key(call))
    if not removed:
        raise Problem(NOT_FOUND, "nothing is defined for this flow key")
    return Reply(204)


@verb("/v1/flow-keys/{key}/pause", summary="Pause a flow key", tag=_TAG, answers={200: _ONE})
def pause_flow_key(service: Service, call: Call) -> Reply:
    """No attempt with it starts until it is resumed, whatever its queue; those that run are left alone."""
    return _set_paused(service, call, paused=True)


@verb("/v1/flow-keys/{key}/resume", summary="Resume a flow key", tag=_TAG, answers={200: _ONE})
def resume_flow_key(service: Service, call: Call) -> Reply:
    """Its attempts start again, as far as the limits allow."""
    return _set_paused(service, call, paused=False)


@verb("/v1/flow-keys/{key}/purge", summary="Cancel all that waits with a flow key", tag=_TAG, answers={202: BEGUN})
def purge_flow_key(service: Service, call: Call) -> Reply:
    """Every task that waits now is cancelled, as if by hand; one that runs, or is submitted later, is left alone."""
    call.body(Nothing)
    key, project = _key(call), call.caller.project
    with service.database.begin() as conn:
        _known(flow_keys.find(conn, project, key))
        started = operations.start_purge(conn, service.database, project, Waiting(flow_key=key))
    return begun(started)


OPERATIONS = (
    list_flow_keys,
    get_flow_key,
    define_flow_key,
    delete_flow_key,
    pause_flow_key,
    resume_flow_key,
    purge_flow_key,
)


def _key(call: Call) -> str:
    return flow_key_of(call.named(_KEY, VISIBLE_KEY))


def _set_paused(service: Service, call: Call, *, paused: bool) -> Reply:
    call.body(Nothing)
    with service.database.begin() as conn:
        flow_key = _known(flow_keys.find(conn, call.caller.project, _key(call)))
        if flow_key.bounds.paused != paused:
            flow_key = flow_keys.set_paused(conn, service.database, flow_key, paused=paused)
    return _answer(service, flow_key)


def _known(flow_key: FlowKey | None) -> FlowKey:
    if flow_key is None:
        raise Problem(NOT_FOUND, "this flow key is not defined, and no task waits or runs with it")
    return flow_key


def _answer(service: Service, flow_key: FlowKey) -> Reply:
    with service.database.read() as conn:
        found = stats.of_flow_keys(conn, service.database, flow_key.project, [flow_key.key])
    return Reply(200, flow_key_answer(flow_key, found[flow_key.key]))
