"""What an attempt sends: the task to its target, or a question to whoever knows whether the work was done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from taskqueue.core.follow_up import content
from taskqueue.core.resource import task_resource
from taskqueue.core.target import parse_target
from taskqueue.core.task import Lease, Task
from taskqueue.core.verdict import headers_read, read_bodies
from taskqueue.core.webhook import with_metadata
from taskqueue.delivery.http import Request
from taskqueue.worker.headers import ask_headers, attempt_headers

_target = lru_cache(maxsize=4096)(parse_target)


def request_for(task: Task, lease: Lease, *, secrets: Sequence[str], now: datetime) -> Request:
    """The request of the attempt under way; raises ``InvalidTarget``."""
    spec = task.spec
    if asks(task):
        return _question(task, lease, secrets=secrets, now=now)
    verdicts = spec.policy.verdicts
    return Request(
        target=_target(spec.target_url, functions=True),
        method=spec.method,
        headers=attempt_headers(task, lease, secrets=secrets, now=now),
        body=spec.body,
        timeout=spec.timeout,
        whole=read_bodies(verdicts) if verdicts else False,
        headers_read=headers_read(verdicts) if verdicts else frozenset(),
    )


def asks(task: Task) -> bool:
    """Whether the attempt under way asks if the work was done, instead of calling the target."""
    return task.progress.memory.asking is not None


def origin_called(task: Task) -> str:
    """The origin of whoever the attempt under way calls."""
    reconcile = task.spec.policy.reconcile
    return _target(reconcile.url).origin if reconcile is not None and asks(task) else task.spec.origin


def _question(task: Task, lease: Lease, *, secrets: Sequence[str], now: datetime) -> Request:
    reconcile = task.spec.policy.reconcile
    assert reconcile is not None, "whom to ask must be known; to call the target instead could do the work twice"
    resource = task_resource(task, now=now)
    del resource["headers"]
    body = b'{"task":%s,%s}' % (with_metadata(resource, task.spec.metadata), content(task.spec))
    return Request(
        target=_target(reconcile.url),
        method="POST",
        headers=ask_headers(task, lease, body, timeout=reconcile.timeout, secrets=secrets, now=now),
        body=body,
        timeout=reconcile.timeout,
        whole=True,
    )
