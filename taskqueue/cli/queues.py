"""The commands about queues. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

from typing import Any

import click

from taskqueue.cli import limits
from taskqueue.cli.limits import of_bounds, path_of, print_one, read_bounds
from taskqueue.cli.output import as_json, plain, print_json
from taskqueue.cli.pages import of_page, page_at, print_page
from taskqueue.cli.payload import read_json
from taskqueue.client import TaskQueue

_NOUN = "queues"
_BLOCK = ("orderingKey", "taskId", "deadLetterId", "since", "onDeath")


@click.group()
def queues() -> None:
    """Look at queues, limit them, and give their tasks defaults."""


@queues.command("list")
@of_page
@as_json
def list_(*, as_json: bool, **asked: str | int | None) -> None:
    """List the queues, by name."""
    limits.print_list(_NOUN, "name", as_json=as_json, **asked)


@queues.command()
@click.argument("name")
@as_json
def show(name: str, *, as_json: bool) -> None:
    """Show one queue, with its limits and how it stands."""
    print_one("GET", path_of(_NOUN, name), as_json=as_json)


@queues.command("set")
@click.argument("name")
@of_bounds
@click.option("--on-death", help="skip, block or park: what becomes of tasks with an ordering key when one has died.")
@click.option("--defaults", metavar="JSON", help='Fields for the submits that leave them out, as {"retries": 5}.')
@as_json
def set_(name: str, *, as_json: bool, on_death: str | None, defaults: str | None, **bounds: Any) -> None:
    """Make a queue what the options say and nothing else: a limit that is left out is gone."""
    fields: dict[str, Any] = read_bounds(**bounds)
    if on_death is not None:
        fields["onDeath"] = on_death
    if defaults is not None:
        fields["defaults"] = read_json(defaults, "--defaults")
    print_one("PUT", path_of(_NOUN, name), fields, as_json=as_json)


@queues.command()
@click.argument("name")
@as_json
def pause(name: str, *, as_json: bool) -> None:
    """Start no attempt of a queue until it is resumed; those that run are left alone."""
    print_one("POST", path_of(_NOUN, name, "pause"), as_json=as_json)


@queues.command()
@click.argument("name")
@as_json
def resume(name: str, *, as_json: bool) -> None:
    """Let the attempts of a queue start again."""
    print_one("POST", path_of(_NOUN, name, "resume"), as_json=as_json)


@queues.command()
@click.argument("name")
@of_page
@as_json
def blocks(name: str, *, as_json: bool, **asked: str | int | None) -> None:
    """List the ordering keys of a queue of which nothing starts because a task died."""
    page = page_at(path_of(_NOUN, name, "blocks"), asked)
    columns = ("ORDERING KEY", "TASK", "DEAD LETTER", "SINCE", "ON DEATH", "WAITING")
    rows = (
        [*(item[field] for field in _BLOCK), f"{item['waiting']}{'+' if item['capped'] else ''}"]
        for item in page["items"]
    )
    print_page(page, columns, rows, as_json=as_json)


@queues.command()
@click.argument("name")
@click.argument("ordering_key")
@as_json
def unblock(name: str, ordering_key: str, *, as_json: bool) -> None:
    """Let the tasks of an ordering key go on; the dead letter stays."""
    found, _ = TaskQueue()._call("POST", path_of(_NOUN, name, "unblock"), {"orderingKey": ordering_key})
    if as_json:
        print_json(found)
        return
    click.echo(f"The tasks of the ordering key {plain(ordering_key)} go on.")


@queues.command()
@click.argument("name")
@as_json
def purge(name: str, *, as_json: bool) -> None:
    """Cancel every task that waits in a queue; those that run are left alone."""
    limits.purge(path_of(_NOUN, name, "purge"), as_json=as_json)


@queues.command()
@click.argument("name")
@as_json
def delete(name: str, *, as_json: bool) -> None:
    """Forget the limits and defaults of a queue; its tasks stay."""
    limits.remove(path_of(_NOUN, name), name, as_json=as_json)
