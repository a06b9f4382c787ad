"""What the service says about itself: the list of events, which facts may go with them, and how they are written.

Nothing else may be logged. No payload, header, secret, query string or text from a peer has a field here to stand in.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Literal, TextIO, TypedDict, Unpack

import structlog

from taskqueue.core.errors import TaskQueueError

FRAMES = 12


class Event(StrEnum):
    """Every event by name. Dashboards and alerts match on these: a name is never given a new meaning."""

    # The life of a process.
    API_STARTED = "api.started"
    API_STOPPED = "api.stopped"
    WORKER_STARTED = "worker.started"
    WORKER_DRAINING = "worker.draining"
    WORKER_STOPPED = "worker.stopped"
    WORKER_RECOVERED = "worker.recovered"  # a part of the worker goes on after failures
    WORKER_FAULT = "worker.fault"  # a surprise inside the worker: a bug
    WORKER_STALLED = "worker.stalled"  # its event loop stood still, or the whole process did
    DATABASE_UNSAFE = "database.unsafe"  # it may lose tasks, and TASKQUEUE_ALLOW_UNSAFE_DATABASE lets it
    TARGETS_ALLOWED = "targets.allowed"  # private addresses may be called
    STORE_UNAVAILABLE = "store.unavailable"
    TASKS_OVERLOOKED = "tasks.overlooked"  # the claim did not know that they wait: a bug, mended
    # The road of a task.
    TASK_EXPIRED = "task.expired"
    TASK_DEAD = "task.dead"  # it lies with the dead letters, and no attempt follows
    TASKS_PARKED = "tasks.parked"  # they wait behind task_id, which died, and are set aside as dead letters
    ATTEMPT_SETTLED = "attempt.settled"
    ATTEMPT_CUT = "attempt.cut"  # its lease went stale, or the worker drains
    ATTEMPT_FAULT = "attempt.fault"  # a surprise while delivering: a bug, settled as local_resource
    LEASE_LAPSED = "lease.lapsed"
    LEASE_STALE = "lease.stale"  # a settlement came after its lease was void, and wrote nothing
    SETTLE_PLAINER = "settle.plainer"  # the whole record was refused by the database; a shorter one was written
    SETTLE_REFUSED = "settle.refused"  # not even that; the lease will lapse
    TARGET_FORBIDDEN = "target.forbidden"  # the one place where a resolved address is named
    # Hosts.
    BREAKER_OPENED = "breaker.opened"  # an origin fails: its tasks wait, and none of their attempts is used up
    BREAKER_CLOSED = "breaker.closed"
    # Requests to the API.
    REQUEST_FAULT = "request.fault"  # answered 500: a bug


class Facts(TypedDict, total=False):
    """What may go with an event. The type checker holds callers to this list, and the log drops the rest."""

    project: object
    task_id: object
    attempt_id: object
    generation: int
    queue: str
    outcome: str | None
    state: str
    reason: str | None  # of a death
    attempts: int
    phase: str
    why: str | None
    what: str
    worker: str | None
    pid: int
    signal: str
    version: str
    database: str  # as shown, without its password
    host: str
    origin: str
    port: int
    address: str | None
    allowed: str
    threads: int
    processes: int
    concurrency: int
    count: int
    failures: int
    seconds: float
    grace_seconds: float
    running: int
    left: int
    method: str
    route: str  # the pattern, not the path
    status: int
    request_id: str
    warning: str
    error: str  # of this package's own errors, whose texts are fit to show


_KEPT = frozenset({*Facts.__annotations__, "error_type", "frames"})


def configure(
    *, log_format: Literal["console", "json"] = "console", level: str = "info", stream: TextIO | None = None
) -> None:
    """Write events of ``level`` and above to ``stream`` (standard error), for people or for machines."""
    stream = stream or sys.stderr
    render: Any = structlog.processors.JSONRenderer()
    if log_format == "console":
        render = structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False, pad_event_to=20)
    global _log  # as the one place where it is decided who listens
    _log = _logger(stream, logging.getLevelNamesMapping()[level.upper()], render)


def debug(event: Event, **facts: Unpack[Facts]) -> None:
    _log.debug(event.value, **facts)


def info(event: Event, **facts: Unpack[Facts]) -> None:
    _log.info(event.value, **facts)


def warning(event: Event, **facts: Unpack[Facts]) -> None:
    _log.warning(event.value, **facts)


def exception(event: Event, error: BaseException, /, **facts: Unpack[Facts]) -> None:
    """An error and the places it passed through. Its text is kept if it is ours: others quote rows and payloads."""
    if isinstance(error, TaskQueueError):
        facts["error"] = str(error)
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    _log.error(
        event.value,
        **facts,
        error_type=" from ".join(_chain(error)),
        frames=[f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    )


def _chain(error: BaseException) -> list[str]:
    names = [type(error).__name__]
    while (error_before := error.__cause__ or error.__context__) is not None and len(names) < 5:
        names.append(type(error_before).__name__)
        error = error_before
    return names


def _short(filename: str) -> str:
    return "/".join(filename.split("/")[-2:])


class _Writer:
    """Writes what can be written. A log that is full, closed or read by nobody is no reason for any work to end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = write


def _logger(stream: TextIO, level: int, render: Any) -> Any:
    return structlog.wrap_logger(
        _Writer(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep_to_the_list,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    ).bind()


def _keep_to_the_list(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = {name: facts.pop(name) for name in ("timestamp", "level", "event")}
    return first | {name: _plain(value) for name, value in facts.items() if name in _KEPT}


def _plain(value: Any) -> Any:
    """A value as one printable line: a name that a peer chose must not be able to forge a second event."""
    if value is None or isinstance(value, bool | int | float | list):
        return value
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


# Silent until a process calls ``configure``: no event is critical.
_log = _logger(sys.stderr, logging.CRITICAL, structlog.processors.JSONRenderer())
