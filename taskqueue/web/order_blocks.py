"""What blocks the ordering keys of a queue, over HTTP."""

from __future__ import annotations

from typing import TypedDict

from taskqueue.core.order_block import BlockResource, block_resource
from taskqueue.store import order_blocks
from taskqueue.store.dialect import Lane
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import NOT_FOUND, Problem
from taskqueue.web.queue_models import Paging, Unblock
from taskqueue.web.queues import queue_named
from taskqueue.web.reading import either
from taskqueue.web.service import Service


class Blocks(TypedDict):
    """Some of the deaths that block keys of a queue, by key."""

    items: list[BlockResource]
    nextCursor: str | None


class Unblocked(TypedDict):
    """A key that goes on."""

    orderingKey: str
    lifted: int  # deaths that blocked it
    links: dict[str, str]


@operation(
    "GET",
    "/v1/queues/{name}/blocks",
    summary="List what blocks ordering keys of a queue",
    tag="queues",
    scope=Scope.READ,
    query=Paging,
    answers={200: Answer("One page of deaths for whose sake others wait, by ordering key", Blocks)},
)
def list_blocks(service: Service, call: Call) -> Reply:
    """Each ends when its dead letter is redriven or deleted, when its key is unblocked, or when the queue skips. Of the
    tasks that wait behind it up to 1,000 are counted."""
    asked, project, name = call.query(Paging), call.caller.project, queue_named(call)
    with service.database.read() as conn:
        page = order_blocks.search(conn, project, name, cursor=either(asked.cursor, None), limit=asked.limit)
    return Reply(200, {"items": [block_resource(block) for block in page.items], "nextCursor": page.next_cursor})


@operation(
    "POST",
    "/v1/queues/{name}/unblock",
    summary="Let a blocked ordering key go on",
    tag="queues",
    scope=Scope.MANAGE,
    body=Unblock,
    body_required=True,
    answers={200: Answer("The key goes on", Unblocked)},
)
def unblock_key(service: Service, call: Call) -> Reply:
    """The tasks that wait start in their order, and nothing more of the key is parked. The dead letters stay: what is
    redriven later joins the tail."""
    asked, project, name = call.body(Unblock), call.caller.project, queue_named(call)
    with service.database.begin() as conn:
        lifted = order_blocks.unblock(conn, service.database, Lane(project, name, asked.ordering_key))
    if not lifted:
        raise Problem(NOT_FOUND, "nothing blocks this ordering key of the queue; it may have gone on already")
    links = {"queue": f"/v1/queues/{name}", "blocks": f"/v1/queues/{name}/blocks"}
    return Reply(200, {"orderingKey": asked.ordering_key, "lifted": lifted, "links": links})


OPERATIONS = (list_blocks, unblock_key)
