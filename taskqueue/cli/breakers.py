"""The commands about breakers. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

import click

from taskqueue.cli.output import as_json, print_json
from taskqueue.cli.pages import of_page, page_at, print_page
from taskqueue.client import TaskQueue

_COLUMNS = {
    "ORIGIN": "origin",
    "STATE": "state",
    "SINCE": "since",
    "OPEN UNTIL": "openUntil",
    "ALLOWED": "allowed",
    "TRIPS": "trips",
    "FAILURES": "failures",
    "CALLS": "calls",
}


@click.group()
def breakers() -> None:
    """Look at the hosts that fail, whose tasks wait until they are back."""


@breakers.command("list")
@click.option("--state", help="open, probing, slow or closed; all but closed unless an origin is named.")
@click.option("--origin", help="Of this origin, or of the origin of this URL, in whatever state.")
@of_page
@as_json
def list_(*, as_json: bool, **filters: str | int | None) -> None:
    """List the breakers that hold something back, by origin."""
    page = page_at("/v1/breakers", filters)
    rows = ([breaker[name] for name in _COLUMNS.values()] for breaker in page["items"])
    print_page(page, tuple(_COLUMNS), rows, as_json=as_json)


@breakers.command()
@click.argument("origin")
@as_json
def reset(origin: str, *, as_json: bool) -> None:
    """Close the breaker of ORIGIN by hand: what waits for it may start."""
    closed, _ = TaskQueue()._call("POST", "/v1/breakers/reset", {"origin": origin})
    if as_json:
        print_json(closed)
        return
    click.echo(f"The breaker of {closed['origin']} is closed.")
