"""`taskqueue dev`: database, API and worker in one command, for trying things out on one machine."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import sys
from collections.abc import Mapping

import click

from taskqueue import __version__
from taskqueue.cli.failure import fail
from taskqueue.cli.program import program
from taskqueue.cli.settings import warn_of_strangers
from taskqueue.cli.supervisor import Child, Supervisor
from taskqueue.config import Settings, require_known_callers

LOOPBACK_TARGETS = "127.0.0.1,::1,localhost"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="The port of the API. [default: 8484]")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
def dev(*, port: int | None, workers: int) -> None:
    """Migrate, then run the API and workers: on loopback, without keys unless TASKQUEUE_AUTH is on.

    The database is the one that TASKQUEUE_DATABASE_URL names; if it is unset, SQLite in ./.taskqueue/.
    Targets on this machine may be called. Ctrl-C finishes what runs; a second one stops at once.
    """
    from taskqueue.store import migrations
    from taskqueue.store.database import Database

    environ = {**os.environ, "TASKQUEUE_PORT": str(port or os.environ.get("TASKQUEUE_PORT") or 8484)}
    environ.setdefault("TASKQUEUE_ALLOWED_TARGETS", LOOPBACK_TARGETS)
    settings = Settings.from_env(environ)
    require_known_callers(settings)
    Database.open(settings.database_url).close()  # connects to nothing, but refuses a URL that cannot be used
    warn_of_strangers()
    _require_free_port(settings)
    migrations.upgrade(settings.database_url)
    sys.exit(_run(settings, environ, workers))


def _run(settings: Settings, environ: Mapping[str, str], workers: int) -> int:
    supervisor = Supervisor(grace=settings.grace_seconds)
    supervisor.add(Child("api", ("api",), environ))
    for number in range(1, workers + 1):
        supervisor.add(Child("worker" if workers == 1 else f"worker {number}", ("worker",), environ))

    def started() -> bool:
        if ready(settings):
            _greet(settings, workers)
            return True
        return False

    code = supervisor.run(started)
    if code == 0:
        click.echo("Stopped. Every accepted task is in the database and goes on at the next start.")
    return code


def ready(settings: Settings) -> bool:
    """True once the API of ``settings`` says that it can serve."""
    connection = http.client.HTTPConnection(settings.host.strip("[]"), settings.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def bind_for_a_moment(settings: Settings) -> None:
    """Take the address of the API and let it go; OSError where it cannot be had."""
    (family, *_, address), *_ = socket.getaddrinfo(settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _greet(settings: Settings, workers: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host.strip("[]") and "[" not in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    task = f'{{"targetUrl": "{url}/healthz", "method": "GET"}}'
    click.echo()
    click.secho(f"  taskqueue {__version__} is ready", fg="green", bold=True)
    click.echo(f"  API       {url}")
    click.echo(f"  Database  {settings.shown('database_url')}")
    click.echo(f"  Workers   {workers}")
    click.echo(f"  Secret    shown by: {program()} signing-secret")
    if settings.auth == "on":
        click.echo(f"  API keys  made by: {program()} keys create")
    if settings.allowed_targets:
        shown = settings.allowed_targets.replace(",", ", ")
        where = "this machine" if settings.allowed_targets == LOOPBACK_TARGETS else "private addresses"
        keys = "no keys, and tasks" if settings.auth == "off" else "tasks"
        click.secho(f"  DEVELOPMENT: {keys} may call {where} ({shown})", fg="yellow")
    click.echo("\n  Submit a task that calls the API itself, then look at it:\n")
    key = ' -H "X-API-Key: $TASKQUEUE_API_KEY"' if settings.auth == "on" else ""
    click.echo(f"  curl -sS {url}/v1/tasks{key} -H 'Content-Type: application/json' -d '{task}'")
    click.echo(f"  curl -sS {url}/v1/tasks{key}\n")
    sys.stdout.flush()


def _require_free_port(settings: Settings) -> None:
    try:
        bind_for_a_moment(settings)
    except OSError as error:
        other = settings.port + 1 if settings.port < 65535 else settings.port - 1
        in_use = error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"on {settings.host} cannot be had ({error.strerror})"
        fail(f"port {settings.port} {why}; try TASKQUEUE_PORT={other} make run, or {program()} dev --port {other}")
