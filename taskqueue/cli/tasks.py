"""The commands about tasks. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, print_facts, print_json, print_table
from taskqueue.cli.payload import read_payload
from taskqueue.cli.program import program
from taskqueue.client import Page, Task, TaskQueue

_PATIENCE_SECONDS = 5.0  # a task that may start and does not start by then waits for a worker
_INTERRUPTED = 130  # as shells have it for Ctrl-C
_FOLLOW_SECONDS = 3600.0  # one round of following; then the next begins


@click.command()
@click.argument("url")
@click.option("--payload", help="A JSON value, sent as it is written; - reads standard input.")
@click.option("--method", help="POST unless said otherwise.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="May be given several times.")
@click.option("--webhook-url", help="Told once when the task ends.")
@click.option("--retries", type=int, help="Attempts after the first.")
@click.option("--timeout", help="Limit for one attempt, as 30, 1m30s or 500ms.")
@click.option("--delay", help="Do not start before this span has passed.")
@click.option("--queue")
@click.option("--label", "labels", multiple=True, help="May be given several times.")
@click.option("--idempotency-key", help="The same key and fields give the same task.")
@click.option("--wait", is_flag=True, help="Wait until the task has ended; exit code 1 unless it succeeded.")
@as_json
def submit(
    url: str, *, wait: bool, as_json: bool, payload: str | None, headers: tuple[str, ...], **fields: Any
) -> None:
    """Submit a task that calls URL."""
    given: Any = {name: value for name, value in fields.items() if value not in (None, ())}
    if payload is not None:
        given["payload"] = read_payload(payload)
    if headers:
        given["headers"] = _headers(headers)
    for name in ("timeout", "delay"):
        if name in given:
            given[name] = read_span(given[name])
    queue = TaskQueue()
    task = queue.tasks.create(target_url=url, **given)
    if wait:
        task = _followed(queue, task)
    _show(task, as_json=as_json)
    if wait and task.status != "succeeded":
        sys.exit(1)


@click.group()
def tasks() -> None:
    """Look at tasks and steer them."""


@tasks.command("list")
@click.option("--status", help="scheduled, queued, running, retrying, succeeded, dead or cancelled.")
@click.option("--kind", help="task (unless said otherwise) or webhook.")
@click.option("--queue")
@click.option("--label")
@click.option("--outcome", help="The class of the newest attempt, as timeout or server_error.")
@click.option("--target-host")
@click.option("--created-after", metavar="TIME")
@click.option("--created-before", metavar="TIME")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--cursor", help="Where the last page ended.")
@as_json
def list_(*, as_json: bool, **filters: Any) -> None:
    """List tasks, newest first."""
    page = TaskQueue().tasks.list(**filters)
    if as_json:
        print_json({"items": [task.raw for task in page.items], "nextCursor": page.next_cursor})
        return
    rows = (
        (task.id, task.status, _attempts(task), task.raw["createdAt"], task.raw["targetUrl"]) for task in page.items
    )
    print_table(("ID", "STATUS", "ATTEMPT", "CREATED", "TARGET"), rows)
    hint_at_more(page)


@tasks.command()
@click.argument("task_id")
@as_json
def show(task_id: str, *, as_json: bool) -> None:
    """Show one task, and those of its webhooks that fail."""
    queue = TaskQueue()
    task = queue.tasks.get(task_id)
    told = "webhooks" in task.raw["links"] and not as_json
    _show(task, as_json=as_json, webhooks=queue.tasks.webhooks(task_id) if told else ())


@tasks.command()
@click.argument("task_id")
@as_json
def attempts(task_id: str, *, as_json: bool) -> None:
    """List the attempts of a task, oldest first."""
    found = TaskQueue().tasks.attempts(task_id)
    if as_json:
        print_json({"items": list(found)})
        return
    print_attempts(found)


@tasks.command()
@click.argument("task_id")
@as_json
def cancel(task_id: str, *, as_json: bool) -> None:
    """Call a task off: no attempt starts any more, and a running one is abandoned."""
    _show(TaskQueue().tasks.cancel(task_id), as_json=as_json)


@tasks.command("run-now")
@click.argument("task_id")
@as_json
def run_now(task_id: str, *, as_json: bool) -> None:
    """Start the next attempt of a waiting task now."""
    _show(TaskQueue().tasks.run_now(task_id), as_json=as_json)


def print_attempts(attempts: Sequence[Mapping[str, Any]]) -> None:
    columns = ("generation", "number", "class", "statusCode", "errorMessage", "startedAt", "worker")
    rows = ([attempt.get(name) for name in columns] for attempt in attempts)
    print_table(("GENERATION", "ATTEMPT", "OUTCOME", "STATUS", "ERROR", "STARTED", "WORKER"), rows)


def read_span(text: str) -> float | str:
    """Seconds where ``text`` is a number; else the text itself, for the service to read as a duration."""
    try:
        return float(text)
    except ValueError:
        return text


def hint_at_more(page: Page[Any]) -> None:
    if page.next_cursor is not None:
        click.echo(f"There are more: add --cursor {page.next_cursor}", err=True)


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


def _headers(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = (part.strip() for part in text.partition(":"))
        if not colon:
            fail(f"--header is NAME:VALUE; there is no colon in {text!r}")
        if name.lower() in map(str.lower, found):
            fail(f"--header {name} is given twice; a header is sent once")
        found[name] = value
    return found


def _show(task: Task, *, as_json: bool, webhooks: Sequence[Task] = ()) -> None:
    if as_json:
        click.echo(task.to_json())
        return
    raw = task.raw
    result = task.result or {}
    print_facts(
        {
            "Id": task.id,
            "Status": task.status + (f" ({task.dead_reason})" if task.dead_reason else ""),
            "Target": f"{raw['method']} {raw['targetUrl']}",
            "Attempt": _attempts(task),
            "Created": raw["createdAt"],
            "Next": raw["nextAttemptAt"],
            "Finished": raw["finishedAt"],
            "Answer": result.get("statusCode"),
            "Body": result.get("body"),
            "Error": _error(task),
            "Dead letter": _way_back(task) if task.status == "dead" else None,
            "Webhooks": "\n".join(_failing(hook) for hook in webhooks if hook.error) or None,
        }
    )


def _error(task: Task) -> str | None:
    return f"{task.error['class']}: {task.error['message']}" if task.error else None


def _way_back(task: Task) -> str:
    """How a dead task can be sent again."""
    letter = task.raw["deadLetterId"]
    return f"{letter}; run it again with: {program()} dead redrive {letter}" if letter else "deleted"


def _failing(webhook: Task) -> str:
    """How the delivery of a webhook goes wrong, and what comes next."""
    next_at = webhook.raw["nextAttemptAt"]
    follows = f"next {next_at}" if next_at else webhook.status
    if webhook.status == "dead":
        follows = f"dead letter {_way_back(webhook)}"
    return f"{webhook.id} failed, attempt {_attempts(webhook)}, {_error(webhook)}; {follows}"


def _attempts(task: Task) -> str:
    return f"{task.attempt} of {task.max_attempts}"
