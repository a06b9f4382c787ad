"""The commands about API keys. They go to the database themselves: who can open it needs no key."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn
from uuid import UUID

import click

from taskqueue.cli.arguments import read_span
from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, plain, print_json
from taskqueue.cli.pages import of_page, print_page
from taskqueue.cli.program import program
from taskqueue.cli.store import opened
from taskqueue.core.api_key import ApiKeyId, NewApiKey, Scope
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import api_keys
from taskqueue.store.projects import exists
from taskqueue.web.key_models import LONGEST_NAME, MOST_OVERLAP_SECONDS, MOST_SECONDS
from taskqueue.web.key_resources import ApiKeyAnswer, api_key_answer, new_api_key_answer
from taskqueue.web.spans import in_words, seconds

_COLUMNS = ("ID", "NAME", "KEY", "SCOPES", "STATUS", "EXPIRES", "LAST USED")
_EVERYDAY = (Scope.SUBMIT, Scope.READ, Scope.MANAGE)
_of_project = click.option("--project", default=DEFAULT_PROJECT, show_default=True, help="Whose key it is.")


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate the API keys of a project."""


@keys.command()
@_of_project
@click.option("--name", default="unnamed", show_default=True, help="What it is for, so that it is known in the list.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it allows; may be given several times. [default: all but admin, which includes the others]",
)
@click.option("--expires-in", metavar="SPAN", help="It opens nothing after this, as 90d; by default it never ends.")
@as_json
def create(*, project: str, name: str, scopes: tuple[str, ...], expires_in: str | None, as_json: bool) -> None:
    """Make a key and print it, this once and alone on standard output."""
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
        fail(f"--name is 1 to {LONGEST_NAME} characters without control characters")
    lifetime = _span("--expires-in", expires_in, least=1, most=MOST_SECONDS) if expires_in is not None else None
    with opened() as database, database.begin() as conn:
        if not exists(conn, project):
            fail(f"there is no project {plain(project)}; make it with: {program()} projects create {plain(project)}")
        asked = frozenset(map(Scope, scopes or _EVERYDAY))
        made = api_keys.create(conn, database, project, name=name, scopes=asked, lifetime=lifetime)
    _print_new(made, as_json=as_json)


@keys.command("list")
@_of_project
@of_page
@as_json
def list_(*, project: str, cursor: str | None, limit: int, as_json: bool) -> None:
    """List the keys of a project, newest first, those that open nothing any more too."""
    with opened() as database, database.read() as conn:
        page = api_keys.search(conn, project, cursor=cursor, limit=limit)
        items = [api_key_answer(key, now=database.now(conn)) for key in page.items]
    answer = {"items": items, "nextCursor": page.next_cursor}
    print_page(answer, _COLUMNS, (_cells(item) for item in items), as_json=as_json)


@keys.command()
@click.argument("key_id")
@_of_project
@as_json
def revoke(key_id: str, *, project: str, as_json: bool) -> None:
    """Make a key open nothing any more. Every process that serves the API refuses it within 5 seconds."""
    id_ = _id(key_id)
    with opened() as database, database.begin() as conn:
        key = api_keys.revoke(conn, database, project, id_)
        if key is None:
            _fail_unknown(key_id, project)
        shown = api_key_answer(key, now=database.now(conn))
    print_json(shown) if as_json else click.echo(f"The key {shown['prefix']}… ({plain(shown['name'])}) is revoked.")


@keys.command()
@click.argument("key_id")
@_of_project
@click.option("--overlap", metavar="SPAN", default="1d", show_default=True, help="So long the old key goes on.")
@as_json
def rotate(key_id: str, *, project: str, overlap: str, as_json: bool) -> None:
    """Make another key for the same and print it, this once; the old one ends after the overlap."""
    id_ = _id(key_id)
    span = _span("--overlap", overlap, least=0, most=MOST_OVERLAP_SECONDS)
    with opened() as database, database.begin() as conn:
        made = api_keys.rotate(conn, database, project, id_, overlap=span)
    if made is None:
        _fail_unknown(key_id, project)
    _print_new(made, as_json=as_json)


def _print_new(made: NewApiKey, *, as_json: bool) -> None:
    shown = new_api_key_answer(made)
    if as_json:
        print_json(shown)
        return
    click.echo(made.text)
    ends = f" until {shown['expiresAt']}" if shown["expiresAt"] else ""
    scopes = ", ".join(shown["scopes"])
    click.echo(f"{shown['id']}: {scopes} in the project {shown['project']}{ends}. It is not shown again.", err=True)


def _cells(item: ApiKeyAnswer) -> tuple[str | None, ...]:
    scopes = " ".join(item["scopes"])
    return item["id"], item["name"], item["prefix"], scopes, item["status"], item["expiresAt"], item["lastUsedAt"]


def _id(text: str) -> ApiKeyId:
    try:
        return ApiKeyId(UUID(text))
    except ValueError:
        fail(f"an API key is named by its id (a UUID), which this shows: {program()} keys list")


def _span(option: str, text: str, *, least: float, most: float) -> timedelta:
    try:
        found = seconds(read_span(text))
    except ValueError as error:
        fail(f"{option}: {error}")
    if not least <= found <= most:
        longest, shortest = in_words(timedelta(seconds=most)), in_words(timedelta(seconds=least))
        fail(f"{option} is {shortest} to {longest}")
    return timedelta(seconds=found)


def _fail_unknown(key_id: str, project: str) -> NoReturn:
    fail(f"there is no API key {plain(key_id)} in the project {plain(project)}; another project has its own: --project")
