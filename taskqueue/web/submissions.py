"""From a submit request to what the store commits: its tasks, and the idempotency keys that protect them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

from taskqueue.core.task import NewTask
from taskqueue.store import idempotency_keys
from taskqueue.store.submissions import DEFAULT_KEY_TTL, IdempotencyKey, Submission
from taskqueue.web.calls import Call
from taskqueue.web.defaults import filled
from taskqueue.web.fields import VISIBLE_ASCII
from taskqueue.web.models import SubmitBatch, SubmitTask
from taskqueue.web.new_tasks import Context, new_task
from taskqueue.web.problems import Faults
from taskqueue.web.reading import either, read
from taskqueue.web.service import Service
from taskqueue.web.times import overdue

_KEY = re.compile(VISIBLE_ASCII)
_KEY_POINTER = "/idempotencyKey"  # of the header too: it means the same
_SINGLE, _BATCH = b"POST /v1/tasks\n", b"POST /v1/tasks/batch\n"


def one_task(call: Call, service: Service) -> Submission:
    """The task in the body. Raises a 422 that lists all that is wrong."""
    faults = Faults()
    asked = read(call.text, SubmitTask, faults)
    if asked is not None:
        asked = filled(asked, partial(service.defaults.of, call.caller.project))
    task = _task(asked, call, faults, service)
    header = _header_key(call, faults)
    key = _field_key(asked, call.caller.project, faults, header=header) if asked is not None else None
    if asked is not None:
        _refuse_overdue([(asked, key)], service, call.caller.project, faults)
    faults.raise_any()
    assert task is not None, "what cannot be accepted leaves a fault"
    return Submission(tasks=(task,), key=key)


def many_tasks(call: Call, service: Service) -> Submission:
    """The tasks in the body, all of them sound. Raises a 422 that points at each bad one."""
    faults = Faults()
    batch = read(call.text, SubmitBatch, faults)
    header = _header_key(call, faults)
    if batch is None:
        faults.raise_any()
    assert batch is not None, "what cannot be read leaves a fault"
    project = call.caller.project
    find = partial(service.defaults.of, project)
    items = [filled(asked, find) for asked in batch.tasks]
    tasks = [_task(asked, call, faults, service) for asked in items]
    whole = _key(project, header, _BATCH + call.text) if header is not None else None
    item_keys = [_field_key(asked, project, faults) for asked in items]
    _refuse_repeats(items, header, faults)
    protected = [(asked, whole, key) for asked, key in zip(items, item_keys, strict=True)]
    _refuse_overdue(protected, service, project, faults)
    faults.raise_any()
    return Submission(
        tasks=tuple(task for task in tasks if task is not None),
        key=whole,
        item_keys=tuple(item_keys) if any(item_keys) else (),
    )


def _task(asked: SubmitTask | None, call: Call, faults: Faults, service: Service) -> NewTask | None:
    if asked is None:
        return None
    traceparent = call.header("HTTP_TRACEPARENT")
    return new_task(asked, faults, Context(call.caller.project, service.allowed, service.functions, traceparent))


def _header_key(call: Call, faults: Faults) -> str | None:
    key = call.header("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _KEY.fullmatch(key):
        faults.add(_KEY_POINTER, "expected an Idempotency-Key header of 1 to 256 visible ASCII characters")
    return key


def _field_key(asked: SubmitTask, project: str, faults: Faults, *, header: str | None = None) -> IdempotencyKey | None:
    own = either(asked.idempotency_key, None)
    if own is not None and header is not None and own != header:
        faults.add(asked.at("idempotencyKey"), "this differs from the Idempotency-Key header; give one of them")
    key = own if own is not None else header
    if key is None:
        if asked.given("idempotencyTtl"):
            faults.add(
                asked.at("idempotencyTtl"), "there is no idempotency key to keep; give one, or leave idempotencyTtl out"
            )
        return None
    return _key(project, key, _SINGLE + asked.text, ttl=either(asked.idempotency_ttl, DEFAULT_KEY_TTL))


def _key(project: str, key: str, content: bytes, *, ttl: timedelta = DEFAULT_KEY_TTL) -> IdempotencyKey:
    return IdempotencyKey(project, key, hashlib.blake2b(content, digest_size=32).digest(), ttl)


def _refuse_repeats(tasks: list[SubmitTask], header: str | None, faults: Faults) -> None:
    seen = {header}
    for asked in tasks:
        key = either(asked.idempotency_key, None)
        if key is not None and key in seen:
            faults.add(asked.at("idempotencyKey"), "this key comes twice in one batch; every task needs its own")
        seen.add(key)


def _refuse_overdue(
    tasks: Iterable[tuple[SubmitTask, *tuple[IdempotencyKey | None, ...]]],
    service: Service,
    project: str,
    faults: Faults,
) -> None:
    """Refuse what would expire unstarted, unless one of its keys says that this is the repeat of what was accepted."""
    now = datetime.now(UTC)
    late = [(found, keys) for asked, *keys in tasks if (found := list(overdue(asked, now)))]
    named = {key.key for _, keys in late for key in keys if key is not None}
    known: set[str] = set()
    if named and not faults:
        with service.database.read() as conn:
            known = idempotency_keys.known(conn, service.database, project, named)
    for found, keys in late:
        if not any(key is not None and key.key in known for key in keys):
            for pointer, why in found:
                faults.add(pointer, why)
