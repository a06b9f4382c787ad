"""Queues and flow keys as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict
from urllib.parse import quote

from msgspec import Raw, json

from taskqueue.core.queue import Bounds, FlowKey, Queue
from taskqueue.core.shown import masked, rfc3339
from taskqueue.store.stats import Stats
from taskqueue.web import scan


class RateResource(TypedDict):
    limit: int
    period: float
    burst: int  # so many at once after a pause


class DepthResource(TypedDict):
    """How many tasks live, by what keeps them."""

    scheduled: int
    queued: int
    running: int
    retrying: int
    held: int  # behind others of their ordering key; in none of the other numbers
    capped: bool  # of some kind there are more than were counted


class StatsResource(TypedDict):
    """How it stands; rates are those of the last minute."""

    depth: DepthResource
    inFlight: int  # what counts against the concurrency: running, or cancelled and still on the wire
    oldestReadyAge: float | None  # seconds for which what became due first has been due
    arrivalsPerSecond: float
    completionsPerSecond: float  # of all ends: succeeded, dead and cancelled


class QueueStatsResource(StatsResource):
    """How a queue stands."""

    blockedKeys: int  # ordering keys of which nothing starts because a task died; 10,000 may be more


class BoundedResource(TypedDict):
    """What holds tasks back."""

    paused: bool
    concurrency: int | None
    rate: RateResource | None
    createdAt: str | None  # null: nobody defined it
    updatedAt: str | None
    links: dict[str, str]


class QueueAnswer(BoundedResource):
    """A queue."""

    name: str
    stats: QueueStatsResource
    onDeath: str
    defaults: Raw  # as they were given, but for credentials


class FlowKeyAnswer(BoundedResource):
    """What holds for all that shares a flow key."""

    key: str
    stats: StatsResource


class Queues(TypedDict):
    """Some of the queues, by name."""

    items: list[QueueAnswer]
    nextCursor: str | None


class FlowKeys(TypedDict):
    """Some of the flow keys that are defined, by key."""

    items: list[FlowKeyAnswer]
    nextCursor: str | None


def queue_answer(queue: Queue, stats: Stats) -> QueueAnswer:
    itself = f"/v1/queues/{queue.name}"
    links = {"self": itself, "tasks": f"/v1/tasks?queue={queue.name}", "blocks": f"{itself}/blocks"}
    return {
        "name": queue.name,
        "stats": {**_stats(stats), "blockedKeys": stats.blocked_keys},
        "onDeath": queue.on_death.value,
        "defaults": Raw(_shown(queue.defaults)) if queue.defaults is not None else Raw(b"{}"),
        **_bounded(queue.bounds, queue.created_at, queue.updated_at, links),
    }


def flow_key_answer(flow_key: FlowKey, stats: Stats) -> FlowKeyAnswer:
    links = {"self": f"/v1/flow-keys/{quote(flow_key.key, safe='')}"}
    return {
        "key": flow_key.key,
        "stats": _stats(stats),
        **_bounded(flow_key.bounds, flow_key.created_at, flow_key.updated_at, links),
    }


def _bounded(
    bounds: Bounds, created_at: datetime | None, updated_at: datetime | None, links: dict[str, str]
) -> BoundedResource:
    rate = bounds.rate
    return {
        "paused": bounds.paused,
        "concurrency": bounds.concurrency,
        "rate": {"limit": rate.limit, "period": rate.period.total_seconds(), "burst": rate.capacity} if rate else None,
        "createdAt": rfc3339(created_at) if created_at else None,
        "updatedAt": rfc3339(updated_at) if updated_at else None,
        "links": links,
    }


def _stats(stats: Stats) -> StatsResource:
    depth = stats.depth
    return {
        "depth": {
            "scheduled": depth.scheduled,
            "queued": depth.queued,
            "running": depth.running,
            "retrying": depth.retrying,
            "held": depth.held,
            "capped": depth.capped,
        },
        "inFlight": stats.in_flight,
        "oldestReadyAge": round(stats.oldest_ready.total_seconds(), 3) if stats.oldest_ready is not None else None,
        "arrivalsPerSecond": round(stats.arrived_per_second, 3),
        "completionsPerSecond": round(stats.ended_per_second, 3),
    }


def _shown(fields: bytes) -> bytes:
    """Fields of a submit as they were given, byte for byte, but for credentials in their headers."""
    members = scan.members(fields)
    shown = {name: _shown_field(name, value) for name, value in members.items()}
    return _object(shown) if shown != members else fields


def _shown_field(name: str, value: bytes) -> bytes:
    if name == "headers":
        headers = json.decode(value, type=dict[str, str])
        safe = masked(headers.items())
        return json.encode(safe) if safe != headers else value
    if name in ("onFailure", "onSuccess"):
        members = scan.members(value)
        shown = {**members, "task": _shown(members["task"])}
        return _object(shown) if shown != members else value
    return value


def _object(members: Mapping[str, bytes]) -> bytes:
    return b"{%s}" % b",".join(b"%s:%s" % (json.encode(name), value) for name, value in members.items())
