"""`taskqueue faultlab`: a target that fails on request, for trying out policies before it matters."""

from __future__ import annotations

import asyncio
import errno
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, print_json
from taskqueue.cli.program import program

if TYPE_CHECKING:
    from taskqueue.faultlab.functions import Function
    from taskqueue.faultlab.lab import FaultLab


@click.command()
@click.option("--port", type=click.IntRange(0, 65000), default=8585, show_default=True, help="First of ten; 0: any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--secret", envvar="TASKQUEUE_SIGNING_SECRET", help="Check signatures with this whsec_ secret.")
@click.option("--function", "own", multiple=True, metavar="NAME=MODULE.HANDLER", help="Also run a handler of yours.")
@click.option("--function-timeout", type=click.FloatRange(0.1, 900), default=3.0, show_default=True, help="In seconds.")
@as_json
def faultlab(
    *, port: int, host: str, secret: str | None, own: tuple[str, ...], function_timeout: float, as_json: bool
) -> None:
    """Start a target that plays every way to fail: /class/timeout, /class/throttled?retryAfter=5, …

    Functions that fail for real are behind lambda:// targets; GET / lists everything. Ctrl-C stops it.
    """
    missing = [name for name in ("awslambdaric", "botocore", "trustme") if find_spec(name) is None]
    if missing:
        fail(
            f"the fault lab needs {', '.join(missing)}; run: pip install 'taskqueue-http[faultlab]'"
            " (in a checkout: .venv/bin/pip install -e '.[faultlab]')"
        )
    from taskqueue.faultlab.lab import FaultLab

    lab = FaultLab(host.strip("[]"), port, secret=secret, own=_functions(own), function_seconds=function_timeout)
    try:
        asyncio.run(_run(lab, as_json))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            fail(f"the ports from {port} on {host} cannot be had ({error.strerror}); try --port {port + 100}, or 0")
        raise


def _functions(named: tuple[str, ...]) -> dict[str, Function]:
    from taskqueue.faultlab.functions import own

    found = {}
    for each in named:
        name, equals, handler = each.partition("=")
        if not (name and equals and "." in handler):
            fail(f"--function {each[:60]}: write NAME=MODULE.HANDLER, such as orders=app.handler")
        found[name] = own(handler)
    return found


async def _run(lab: FaultLab, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await lab.open()
        print_json(lab.index()) if as_json else _greet(lab)
        await stop.wait()
    finally:
        await lab.close()


def _greet(lab: FaultLab) -> None:
    index = lab.index()
    click.secho(f"\n  The fault lab listens on {lab.url}; GET / lists all it can play\n", fg="green", bold=True)
    for name, url in index["addresses"].items():
        click.echo(f"  {name:34}{url}")
    click.echo("\n  For lambda:// targets, start API and worker with:\n")
    for name, value in lab.environment.items():
        click.echo(f"  export {name}={value}")
    click.echo("\n  For certificates to be refused for what is wrong with them alone, start the worker with:\n")
    click.echo(f"  export SSL_CERT_FILE={index['authority']}")
    click.echo(f"\n  Try: {program()} submit '{lab.url}/class/server_error?times=2' --payload '{{}}' --wait\n")
