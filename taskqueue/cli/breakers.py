"""The commands about breakers. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

from urllib.parse import urlencode

import click

from taskqueue.cli.output import as_json, hint_at_more, print_json, print_table
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
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--cursor", help="Where the last page ended.")
@as_json
def list_(*, as_json: bool, **filters: str | int | None) -> None:
    """List the breakers that hold something back, by origin."""
    asked = urlencode({name: value for name, value in filters.items() if value is not None})
    page, _ = TaskQueue()._call("GET", f"/v1/breakers?{asked}")
    if as_json:
        print_json(page)
        return
    print_table(tuple(_COLUMNS), ([breaker[name] for name in _COLUMNS.values()] for breaker in page["items"]))
    hint_at_more(page["nextCursor"])


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
