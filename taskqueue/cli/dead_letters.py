"""The commands about dead letters. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from taskqueue.cli.arguments import options, read_span
from taskqueue.cli.output import as_json, print_facts
from taskqueue.cli.pages import of_page, print_page
from taskqueue.cli.payload import payload_of_letter, read_json
from taskqueue.cli.show import error_of, print_attempts
from taskqueue.client import TaskQueue
from taskqueue.core.guidance import error_in_words

_GROUP = {
    "COUNT": "count",
    "REASON": "reason",
    "OUTCOME": "class",
    "HOST": "targetHost",
    "ERROR": "error",
    "NEWEST": "newest",
    "FINGERPRINT": "fingerprint",
    "EXAMPLE": "exampleId",
}
_filters = options(
    click.option("--task", "task_id", metavar="TASK_ID", help="The deaths of one task."),
    click.option("--kind", help="task or webhook; both unless said otherwise."),
    click.option("--queue"),
    click.option("--class", "class_", help="The class of the last attempt, as timeout or server_error."),
    click.option("--reason", help="exhausted, rejected, expired, lost, poison, parked or uncertain."),
    click.option("--fingerprint", help="Deaths of one cause share it."),
    click.option("--target-host"),
    click.option("--label"),
    click.option("--after", metavar="TIME"),
    click.option("--before", metavar="TIME"),
    click.option("--include-redriven", flag_value="true"),
    of_page,
)


@click.group()
def dead() -> None:
    """Look at the tasks that died and send them again."""


@dead.command("list")
@_filters
@as_json
def list_(*, as_json: bool, **filters: Any) -> None:
    """List dead letters, newest first."""
    page = TaskQueue().dead_letters.list(**filters)
    answer = {"items": list(page.items), "nextCursor": page.next_cursor}
    columns = ("id", "reason", "class", "diedAt", "taskId")
    rows = ((*(letter[name] for name in columns), letter["kind"], letter["task"]["targetUrl"]) for letter in page.items)
    print_page(answer, ("ID", "REASON", "OUTCOME", "DIED", "TASK", "KIND", "TARGET"), rows, as_json=as_json)


@dead.command()
@_filters
@as_json
def groups(*, as_json: bool, **filters: Any) -> None:
    """Count dead letters by cause, the most frequent first; class, reason and error are those of the newest."""
    page = TaskQueue().dead_letters.groups(**filters)
    answer = {"items": list(page.items), "nextCursor": page.next_cursor}
    told = ({**group, "error": error_of(group)} for group in page.items)
    print_page(answer, tuple(_GROUP), ([group[name] for name in _GROUP.values()] for group in told), as_json=as_json)


@dead.command()
@click.argument("dead_letter_id")
@as_json
def show(dead_letter_id: str, *, as_json: bool) -> None:
    """Show one dead letter, with its payload and every attempt."""
    text = TaskQueue().dead_letters.text(dead_letter_id)
    if as_json:
        click.echo(text)
        return
    letter = json.loads(text)
    _show(letter, payload_of_letter(text))
    click.echo()
    print_attempts(letter["attempts"])


@dead.command()
@click.argument("dead_letter_id")
@click.option("--target-url", help="Call this URL instead.")
@click.option("--payload", help="Send this JSON value instead, as it is written; - reads standard input.")
@click.option("--timeout", help="Limit for one attempt from now on, as 30 or 1m30s.")
@click.option("--retries", type=int, help="Attempts after the first from now on.")
@click.option("--force", is_flag=True, help="Even if its compensation was submitted.")
@as_json
def redrive(dead_letter_id: str, *, as_json: bool, payload: str | None, force: bool, **edits: Any) -> None:
    """Queue a dead task again, as it was or with changes."""
    given = {name: value for name, value in edits.items() if value is not None}
    if force:
        given["force"] = True
    if "timeout" in given:
        given["timeout"] = read_span(given["timeout"])
    if payload is not None:
        given["payload"] = read_json(payload, "--payload")
    task = TaskQueue().dead_letters.redrive(dead_letter_id, **given)
    click.echo(task.to_json() if as_json else f"Task {task.id} is {task.status} again.")


def _show(letter: Mapping[str, Any], payload: str | None) -> None:
    task = letter["task"]
    error = task.get("error") or {}
    print_facts(
        {
            "Id": letter["id"],
            "Task": task["id"],
            "Target": f"{task['method']} {task['targetUrl']}",
            "Reason": letter["reason"],
            "Outcome": letter["class"],
            "Error": error_in_words(error.get("type"), error.get("message")),
            "Partial": letter.get("partialWork"),
            "Fingerprint": letter["fingerprint"],
            "Compensation": letter["compensationId"],
            "Died": letter["diedAt"],
            "Redriven": letter.get("redrivenAt"),
            "Payload": payload,
        }
    )
