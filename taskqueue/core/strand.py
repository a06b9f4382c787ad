"""Strands: tasks that wait with the same limits and the same priority, which the claim looks at as one."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from taskqueue.core.task import TaskSpec


@lru_cache(maxsize=16384)
def strand_id(project: str, queue: str, flow_key: str, origin: str, priority: int) -> int:
    """The same for the same five, in every process, so that nobody has to ask for it; 63 bits."""
    name = "\x1f".join((project, queue, flow_key, origin, str(priority))).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def strand_of(spec: TaskSpec) -> int:
    """The strand that a task of this kind waits in."""
    return strand_id(spec.project, spec.queue, spec.flow_key or spec.origin, spec.origin, spec.priority)


def blocked_on_flow(flow_key: str) -> str:
    """How a strand notes that its flow key is full."""
    return f"flow {flow_key}"


def blocked_on_queue(queue: str) -> str:
    """How a strand notes that its queue is full."""
    return f"queue {queue}"


def blocked_on_origin(origin: str) -> str:
    """How a strand notes that its origin's breaker lets no more through at once."""
    return f"origin {origin}"
