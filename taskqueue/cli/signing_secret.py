"""`taskqueue signing-secret`: what receivers verify deliveries and webhooks with."""

from __future__ import annotations

import os

import click

from taskqueue.cli.output import as_json, print_json
from taskqueue.config import Settings
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import secrets
from taskqueue.store.database import Database


@click.command()
@as_json
def signing_secret(*, as_json: bool) -> None:
    """Print the signing secrets, newest first. Anyone who has one can sign in this service's name."""
    settings = Settings.from_env(os.environ)
    found = (settings.signing_secret,) if settings.signing_secret else _stored(settings)
    if as_json:
        print_json({"secrets": list(found)})
        return
    for secret in found:
        click.echo(secret)


def _stored(settings: Settings) -> tuple[str, ...]:
    database = Database.open(settings.database_url)
    try:
        database.check(allow_unsafe=True)
        with database.begin() as conn:
            return secrets.ensure(conn, database, DEFAULT_PROJECT)
    finally:
        database.close()
