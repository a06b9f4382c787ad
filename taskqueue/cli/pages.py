"""Lists, a page at a time: how to ask for the next, and how one is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import click

from taskqueue.cli.arguments import options
from taskqueue.cli.output import print_json, print_table
from taskqueue.client import TaskQueue

of_page = options(
    click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True),
    click.option("--cursor", help="Where the last page ended."),
)


def page_at(path: str, asked: Mapping[str, str | int | None]) -> Any:
    """A page of the list at ``path``; what was not asked for is left to the service."""
    query = urlencode({option: value for option, value in asked.items() if value is not None})
    page, _ = TaskQueue()._call("GET", f"{path}?{query}")
    return page


def print_page(
    page: Mapping[str, Any], columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool
) -> None:
    """A page as the service answered it, or its rows; then standard error says how to see the rest, if there is one."""
    if as_json:
        print_json(page)
        return
    print_table(columns, rows)
    if page["nextCursor"] is not None:
        click.echo(f"There are more: add --cursor {page['nextCursor']}", err=True)
