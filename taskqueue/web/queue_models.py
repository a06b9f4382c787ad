"""What requests about queues and flow keys hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar

from msgspec import UNSET, UnsetType

from taskqueue.core.queue import OnDeath
from taskqueue.web.fields import about, plain_text, span
from taskqueue.web.kinds import DAY, Cursor, Limit
from taskqueue.web.models import TaskFields
from taskqueue.web.reading import Model

_MOST = 1_000_000
_NO_KEY = "a key belongs to one submit and cannot be a default; leave it out"


class TaskDefaults(TaskFields):
    """What a task of the queue gets for the fields that its submit leaves out."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "queue": "the defaults are those of the queue in the path; leave it out",
        "idempotencyKey": _NO_KEY,
        "idempotencyTtl": _NO_KEY,
    }


class RateLimit(Model):
    """How many attempts may start in a time."""

    limit: Annotated[int, about("So many may start per `period`, refilled evenly", ge=1, le=_MOST)]
    period: Annotated[timedelta, span(0.1, 30 * DAY, "The time in which `limit` may start")]
    burst: (
        Annotated[int, about("So many may start at once after a pause; by default `limit`", ge=1, le=_MOST)] | UnsetType
    ) = UNSET


class DefineFlowKey(Model):
    """What holds for all that shares the key; what is left out has no limit of its own."""

    concurrency: (
        Annotated[int, about("So many may run at once, on all workers together", ge=1, le=_MOST)] | UnsetType
    ) = UNSET
    rate: Annotated[RateLimit, about("How fast attempts may start")] | UnsetType = UNSET
    paused: Annotated[bool, about("Start nothing until it is resumed; what runs is left alone")] = False


class DefineQueue(DefineFlowKey):
    """What holds in the queue; what is left out is without limit or default."""

    on_death: Annotated[
        OnDeath,
        about(
            "What becomes of the tasks behind a dead one of their ordering key: `skip` starts the next, `block` has"
            " them wait until it is redriven or given up, `park` sets them aside as dead letters"
        ),
    ] = OnDeath.SKIP
    defaults: Annotated[TaskDefaults, about("Fields of a submit, for those that leave them out")] | UnsetType = UNSET


class Paging(Model):
    """Which part of a list."""

    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 50


class Unblock(Model):
    """Which key of a queue is to go on."""

    ordering_key: Annotated[str, plain_text(256, "The ordering key")]
