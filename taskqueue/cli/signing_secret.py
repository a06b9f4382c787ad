"""`taskqueue signing-secret`: what receivers verify deliveries and webhooks with."""

from __future__ import annotations

import os

import click

from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, plain, print_json
from taskqueue.cli.store import opened
from taskqueue.config import Settings
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import secrets
from taskqueue.store.projects import exists


@click.command()
@click.option("--project", default=DEFAULT_PROJECT, show_default=True, help="Whose deliveries they sign.")
@as_json
def signing_secret(*, project: str, as_json: bool) -> None:
    """Print the signing secrets, newest first. Anyone who has one can sign in this service's name."""
    given = Settings.from_env(os.environ).signing_secret if project == DEFAULT_PROJECT else None
    found = (given,) if given is not None else _stored(project)
    if as_json:
        print_json({"secrets": list(found)})
        return
    for secret in found:
        click.echo(secret)


def _stored(project: str) -> tuple[str, ...]:
    with opened() as database, database.begin() as conn:
        if not exists(conn, project):
            fail(f"there is no project {plain(project)}")
        return secrets.ensure(conn, database, project)
