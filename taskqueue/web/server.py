"""The API as a process: granian in front of Flask, its children, its signals, its exit."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import util
from typing import Any

from flask import Flask
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from taskqueue import __version__, telemetry
from taskqueue.config import Settings, require_known_callers
from taskqueue.core.errors import InvalidSettings, StoreUnavailable
from taskqueue.store.database import Database
from taskqueue.telemetry import Event
from taskqueue.web.app import create_app
from taskqueue.web.service import Service

_STOP_SECONDS = 5  # for requests that are being served; what has committed is safe anyway
_IDLE_MILLISECONDS = 60_000  # for a connection without a request, and for a request's headers
_MAX_HEADER_BYTES = 65_536
_CONNECTIONS = 4096
_OTHER_FILES = 256  # of the database, of the log, of the libraries


def serve(settings: Settings) -> int:
    """Serve the API until SIGTERM or SIGINT, then finish what was begun; return the exit code.

    Raises ``InvalidSettings`` for an address it must not or cannot bind, ``UnsafeDatabase`` or ``WrongRevision`` before
    it binds. A database that is away is waited for.
    """
    require_known_callers(settings)
    address = _free_address(settings)
    _check_database(settings)
    _announce(settings)
    server = build(settings, address=address)
    code = 0
    try:
        server.serve(target_loader=partial(_load, settings), wrap_loader=False)
    except SystemExit as left:
        # Ctrl-C reaches the children too, and granian takes one that ends before it is told to for a crash.
        code = 0 if server.interrupt_signal else int(left.code or 0)
    telemetry.info(Event.API_STOPPED, pid=os.getpid())
    return code


def build(settings: Settings, *, address: str) -> AbstractServer[Any]:
    """The server of WSGI applications as the API runs it, not started yet: ``serve`` it with a loader of one."""
    return Granian(
        "taskqueue",  # the loader names the application; this is shown nowhere
        address=address,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.api_processes,
        blocking_threads=settings.api_threads,
        # Idle connections count, and one beyond the limit waits for another to close.
        backpressure=_connections(),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_IDLE_MILLISECONDS, max_buffer_size=_MAX_HEADER_BYTES),
        websockets=False,
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )


def _load(settings: Settings) -> Flask:
    """The application of one child process. Called in the child's main thread."""
    telemetry.configure(log_format=settings.log_format, level=settings.log_level)
    _die_with_parent()
    database = Database.open(settings.database_url)
    service = Service(settings, database)
    _call_on_signal(service.wake)
    util.Finalize(None, _close, args=(service, database), exitpriority=10)
    app = create_app(service)
    gc.collect()
    gc.freeze()  # what is loaded by now stays; looking at it again and again would only make requests wait
    return app


def _close(service: Service, database: Database) -> None:
    service.close()
    database.close()


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone: an orphan would go on answering beside the next API."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "granian runs the application in a child process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _call_on_signal(wake: Callable[[], None]) -> None:
    """Call ``wake`` when a signal arrives; the handlers stay granian's."""
    ours, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)

    def watch() -> None:
        os.read(ours, 1)
        wake()

    threading.Thread(target=watch, name="signal-watch", daemon=True).start()


def _free_address(settings: Settings) -> str:
    """The address to bind, refused if somebody listens there: granian would share the port and get some requests."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InvalidSettings(
            f"TASKQUEUE_HOST {settings.host} and TASKQUEUE_PORT {settings.port} cannot be bound: {error.strerror};"
            " stop what listens there, or choose another port"
        ) from error
    return str(address[0])


def _check_database(settings: Settings) -> None:
    database, said = Database.open(settings.database_url), ""
    try:
        while True:
            try:
                warnings = database.check(allow_unsafe=settings.allow_unsafe_database)
                break
            except StoreUnavailable as error:
                if said != (said := str(error)):  # once for each reason, not once a second
                    telemetry.warning(Event.STORE_UNAVAILABLE, what="start", error=said)
                time.sleep(1)
    finally:
        database.close()  # before granian forks: connections cannot be shared
    for warning in warnings:
        telemetry.warning(Event.DATABASE_UNSAFE, warning=warning)


def _announce(settings: Settings) -> None:
    if settings.allowed_targets:
        telemetry.warning(Event.TARGETS_ALLOWED, allowed=settings.allowed_targets)
    telemetry.info(
        Event.API_STARTED,
        version=__version__,
        pid=os.getpid(),
        host=settings.host,
        port=settings.port,
        threads=settings.api_threads,
        processes=settings.api_processes,
    )


def _connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(_CONNECTIONS, files - _OTHER_FILES))
