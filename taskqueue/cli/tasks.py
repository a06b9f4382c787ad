"""The commands about tasks. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

from typing import Any

import click

from taskqueue.cli.explain import explain
from taskqueue.cli.output import as_json, print_json
from taskqueue.cli.pages import of_page, print_page
from taskqueue.cli.show import Surroundings, attempts_of, print_attempts, show_task
from taskqueue.client import TaskQueue


@click.group()
def tasks() -> None:
    """Look at tasks and steer them."""


tasks.add_command(explain)


@tasks.command("list")
@click.option("--status", help="scheduled, queued, running, retrying, succeeded, dead or cancelled.")
@click.option("--kind", help="task (unless said otherwise) or webhook.")
@click.option("--queue")
@click.option("--label")
@click.option("--outcome", help="The class of the newest attempt, as timeout or server_error.")
@click.option("--target-host")
@click.option("--created-after", metavar="TIME")
@click.option("--created-before", metavar="TIME")
@of_page
@as_json
def list_(*, as_json: bool, **filters: Any) -> None:
    """List tasks, newest first."""
    page = TaskQueue().tasks.list(**filters)
    answer = {"items": [task.raw for task in page.items], "nextCursor": page.next_cursor}
    rows = (
        (task.id, task.status, attempts_of(task), task.raw["createdAt"], task.raw["targetUrl"]) for task in page.items
    )
    print_page(answer, ("ID", "STATUS", "ATTEMPT", "CREATED", "TARGET"), rows, as_json=as_json)


@tasks.command()
@click.argument("task_id")
@as_json
def show(task_id: str, *, as_json: bool) -> None:
    """Show one task, its family, and those of its webhooks that fail."""
    queue = TaskQueue()
    task = queue.tasks.get(task_id)
    show_task(task, as_json=as_json, around=None if as_json else Surroundings.of(queue, task))


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
    show_task(TaskQueue().tasks.cancel(task_id), as_json=as_json)


@tasks.command("run-now")
@click.argument("task_id")
@as_json
def run_now(task_id: str, *, as_json: bool) -> None:
    """Start the next attempt of a waiting task now."""
    show_task(TaskQueue().tasks.run_now(task_id), as_json=as_json)
