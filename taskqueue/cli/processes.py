"""The commands that run the service: api, worker, migrate."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from msgspec.structs import replace

from taskqueue import telemetry
from taskqueue.cli.lifeline import end_with_parent
from taskqueue.cli.output import as_json, print_json
from taskqueue.cli.settings import warn_of_strangers
from taskqueue.cli.supervisor import Child, Supervisor
from taskqueue.config import Settings

_lifeline = click.option("--lifeline", is_flag=True, help="Stop when standard input closes: it is held by a parent.")


@click.command()
@_lifeline
def api(*, lifeline: bool) -> None:
    """Serve the HTTP API."""
    from taskqueue.web.server import serve

    settings = _start(lifeline)
    sys.exit(serve(settings))


@click.command()
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Attempts in flight per process.")
@_lifeline
def worker(*, processes: int, concurrency: int | None, lifeline: bool) -> None:
    """Deliver tasks until stopped. SIGTERM drains: what runs is finished, nothing new begins."""
    settings = _start(lifeline)
    if concurrency is not None:
        settings = replace(settings, concurrency=concurrency)
    if processes > 1:
        sys.exit(_several(processes, settings))
    from taskqueue.worker.process import run

    sys.exit(run(settings))


@click.command()
@as_json
def migrate(*, as_json: bool) -> None:
    """Bring the database to the revision this version needs. Safe to run twice, and from many machines at once."""
    from taskqueue.store import migrations

    warn_of_strangers()
    migrations.upgrade(Settings.from_env(os.environ).database_url)
    print_json({"revision": migrations.head()}) if as_json else click.echo(f"The database is at {migrations.head()}.")


def _start(lifeline: bool) -> Settings:
    settings = Settings.from_env(os.environ)
    telemetry.configure(log_format=settings.log_format, level=settings.log_level)
    if lifeline:
        end_with_parent()
    else:  # a parent has said it already
        warn_of_strangers()
    return settings


def _several(processes: int, settings: Settings) -> int:
    environ: dict[str, Any] = {**os.environ, "TASKQUEUE_CONCURRENCY": str(settings.concurrency)}
    supervisor = Supervisor(grace=settings.grace_seconds)
    for number in range(1, processes + 1):
        supervisor.add(Child(f"worker {number}", ("worker",), environ))
    return supervisor.run()
