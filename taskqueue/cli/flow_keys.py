"""The commands about flow keys. They speak HTTP, to the service at TASKQUEUE_URL."""

from __future__ import annotations

from typing import Any

import click

from taskqueue.cli import limits
from taskqueue.cli.limits import of_bounds, path_of, print_one, read_bounds
from taskqueue.cli.output import as_json
from taskqueue.cli.pages import of_page

_NOUN = "flow-keys"


@click.group("flow-keys")
def flow_keys() -> None:
    """Limit what shares a flow key, whatever its queue; without one, that is an origin as https://your-app.example:443."""


@flow_keys.command("list")
@of_page
@as_json
def list_(*, as_json: bool, **asked: str | int | None) -> None:
    """List the flow keys that are defined, by key."""
    limits.print_list(_NOUN, "key", as_json=as_json, **asked)


@flow_keys.command()
@click.argument("key")
@as_json
def show(key: str, *, as_json: bool) -> None:
    """Show one flow key, with its limits and how it stands."""
    print_one("GET", path_of(_NOUN, key), as_json=as_json)


@flow_keys.command("set")
@click.argument("key")
@of_bounds
@as_json
def set_(key: str, *, as_json: bool, **bounds: Any) -> None:
    """Limit a flow key as the options say and not otherwise: a limit that is left out is gone."""
    print_one("PUT", path_of(_NOUN, key), read_bounds(**bounds), as_json=as_json)


@flow_keys.command()
@click.argument("key")
@as_json
def pause(key: str, *, as_json: bool) -> None:
    """Start no attempt with a flow key until it is resumed; those that run are left alone."""
    print_one("POST", path_of(_NOUN, key, "pause"), as_json=as_json)


@flow_keys.command()
@click.argument("key")
@as_json
def resume(key: str, *, as_json: bool) -> None:
    """Let the attempts with a flow key start again."""
    print_one("POST", path_of(_NOUN, key, "resume"), as_json=as_json)


@flow_keys.command()
@click.argument("key")
@as_json
def purge(key: str, *, as_json: bool) -> None:
    """Cancel every task that waits with a flow key; those that run are left alone."""
    limits.purge(path_of(_NOUN, key, "purge"), as_json=as_json)


@flow_keys.command()
@click.argument("key")
@as_json
def delete(key: str, *, as_json: bool) -> None:
    """Forget the limits of a flow key; its tasks stay."""
    limits.remove(path_of(_NOUN, key), key, as_json=as_json)
