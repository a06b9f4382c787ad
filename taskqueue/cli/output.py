"""What commands print: JSON for programs, tables for people. Text from peers never reaches the terminal raw."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH = 250  # a table in a pipe is for grep: nothing may be cut off

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=name in ("ID", "TASK"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    _print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """One fact per line; what is ``None`` is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, Text(plain(value)))
    _print(table)


def plain(value: Any) -> str:
    """``value`` as text without control characters: an answer could else rewrite the screen it is shown on."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _print(table: Table) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED_WIDTH
    console = Console(width=width, highlight=False)
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        click.echo(line.rstrip())
