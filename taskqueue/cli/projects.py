"""The commands about projects. They go to the database themselves: who can open it needs no key."""

from __future__ import annotations

import click

from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, print_json
from taskqueue.cli.pages import of_page, print_page
from taskqueue.cli.program import program
from taskqueue.cli.store import opened
from taskqueue.core.project import PROJECT_NAME, is_project_name
from taskqueue.store.projects import create as make
from taskqueue.store.projects import search
from taskqueue.web.key_resources import project_answer


@click.group()
def projects() -> None:
    """Make projects: each has tasks, keys and signing secrets of its own."""


@projects.command()
@click.argument("name")
@as_json
def create(name: str, *, as_json: bool) -> None:
    """Make a project. It has a signing secret then, and no key yet."""
    if not is_project_name(name):
        fail(f"a project needs {PROJECT_NAME}")
    with opened() as database, database.begin() as conn:
        made = make(conn, database, name)
    if as_json:
        print_json(project_answer(made))
        return
    click.echo(f"The project {name} is there. Make its first key with: {program()} keys create --project {name}")
    click.echo(f"Its receivers verify with what this prints: {program()} signing-secret --project {name}")


@projects.command("list")
@of_page
@as_json
def list_(*, cursor: str | None, limit: int, as_json: bool) -> None:
    """List the projects, by name."""
    with opened() as database, database.read() as conn:
        page = search(conn, cursor=cursor, limit=limit)
    items = [project_answer(project) for project in page.items]
    answer = {"items": items, "nextCursor": page.next_cursor}
    print_page(answer, ("NAME", "CREATED"), ([item["name"], item["createdAt"]] for item in items), as_json=as_json)
