"""The command that submits a task. It speaks HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

import sys
from typing import Any

import click

from taskqueue.cli.arguments import read_headers, read_retry_policy, read_span
from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json
from taskqueue.cli.payload import read_json
from taskqueue.cli.program import program
from taskqueue.cli.show import Surroundings, show_task
from taskqueue.client import RawJson, Task, TaskQueue

_PATIENCE_SECONDS = 5.0  # a task that may start and does not start by then waits for a worker
_INTERRUPTED = 130  # as shells have it for Ctrl-C
_FOLLOW_SECONDS = 3600.0  # one round of following; then the next begins
_FOLLOW_UP = '{"task": {"targetUrl": "%s"}}'
_READERS = {
    "headers": read_headers,
    "timeout": read_span,
    "delay": read_span,
    "expires_in": read_span,
    "retry_policy": read_retry_policy,
}
_JSON = ("payload", "backoff", "verdict", "reconcile", "on_failure", "on_success")
# What is easily given as a bare URL, and how it is written.
_FORMS = {"reconcile": '{"url": "%s"}', "on_failure": _FOLLOW_UP, "on_success": _FOLLOW_UP}


@click.command()
@click.argument("url")
@click.option("--payload", help="A JSON value, sent as it is written; - reads standard input.")
@click.option("--method", help="POST unless said otherwise.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="May be given several times.")
@click.option("--webhook-url", help="Told once when the task ends.")
@click.option("--retries", type=int, help="Attempts after the first.")
@click.option("--timeout", help="Limit for one attempt, as 30, 1m30s or 500ms.")
@click.option("--retry-policy", metavar="NAME|JSON", help="default, any-error, lambda-async, never; or rules.")
@click.option("--backoff", metavar="JSON", help='The waits, as {"type": "fixed", "initial": "30s"}.')
@click.option("--verdict", metavar="JSON", help="How to read a target whose status codes do not tell.")
@click.option("--reconcile", metavar="JSON", help='Whom to ask whether the work was done, as {"url": …}.')
@click.option("--on-lost", metavar="retry|dead", help="What becomes of it when its worker vanishes.")
@click.option("--poison-after", type=int, help="Give up after so many identical failures in a row.")
@click.option("--on-failure", metavar="JSON", help='A task to submit if this one dies, as {"task": {…}}.')
@click.option("--on-success", metavar="JSON", help="A task to submit once this one has succeeded.")
@click.option("--delay", help="Do not start before this span has passed.")
@click.option("--expires-in", help="No attempt starts later than this.")
@click.option("--queue", help="The queue, which gives the task whatever is left out here and has a default.")
@click.option("--priority", type=int, help="0 to 9: of what waits, the higher starts first.")
@click.option("--flow-key", help="Tasks of one key share its limits; by default the origin of URL.")
@click.option("--label", "labels", multiple=True, help="May be given several times.")
@click.option("--idempotency-key", help="The same key and fields give the same task.")
@click.option("--wait", is_flag=True, help="Wait until the task has ended; exit code 1 unless it succeeded.")
@as_json
def submit(url: str, *, wait: bool, as_json: bool, **fields: Any) -> None:
    """Submit a task that calls URL."""
    given: Any = {name: value for name, value in fields.items() if value not in (None, ())}
    for name in _READERS.keys() & given.keys():
        given[name] = _READERS[name](given[name])
    for name in given.keys() & set(_JSON):
        given[name] = _json(name, given[name])
    queue = TaskQueue()
    task = queue.tasks.create(target_url=url, **given)
    if wait:
        task = _followed(queue, task)
    show_task(task, as_json=as_json, around=Surroundings.of(queue, task) if wait and not as_json else None)
    if wait and task.status != "succeeded":
        sys.exit(1)


def _json(name: str, text: str) -> RawJson:
    option = "--" + name.replace("_", "-")
    if name in _FORMS and text.startswith(("http://", "https://")):
        fail(f"{option} takes JSON, and no bare URL: '{_FORMS[name] % text}'")
    return read_json(text, option)


def _followed(queue: TaskQueue, task: Task) -> Task:
    """The task once it has ended; standard error tells what to know meanwhile."""
    click.echo(f"Task {task.id}", err=True)
    try:
        task = queue.tasks.wait(task.id, timeout=_PATIENCE_SECONDS)
        if task.status == "queued":
            click.echo("still queued: is a worker running?", err=True)
        while not task.ended:
            task = queue.tasks.wait(task.id, timeout=_FOLLOW_SECONDS)
    except KeyboardInterrupt:
        click.echo(f"\nThe task runs on; look at it with: {program()} tasks show {task.id}", err=True)
        sys.exit(_INTERRUPTED)
    return task
