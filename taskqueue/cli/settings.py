"""`taskqueue settings`: every variable, what it is now and what it does; also the table in the documentation."""

from __future__ import annotations

import os
from typing import Any

import click

from taskqueue import config
from taskqueue.cli.output import as_json, print_json, print_table
from taskqueue.config import Settings, strangers

_INTRODUCTION = """\
# Settings

Every setting is an environment variable; there is no file. An empty variable counts as unset.
`taskqueue settings` prints this table with the values in force, `taskqueue doctor` checks them.
"""
_CLIENTS = """
Clients (`taskqueue.client` and the commands that call the API) read `TASKQUEUE_URL`, which is `http://127.0.0.1:8484`
unless set, and `TASKQUEUE_API_KEY`. The tests read `TASKQUEUE_TEST_POSTGRES`, the URL of a server on which they may
make databases.
"""


@click.command()
@as_json
@click.option("--markdown", is_flag=True, help="Print the documentation's table instead.")
def settings(*, as_json: bool, markdown: bool) -> None:
    """Show every setting, its value now, and what it does. Secrets are not shown."""
    if markdown:
        click.echo(documentation(), nl=False)
        return
    now = Settings.from_env(os.environ)
    if as_json:
        print_json({row.variable: now.shown(row.field) for row in config.table()})
        return
    rows = ((row.variable, now.shown(row.field), row.about.replace("`", "")) for row in config.table())
    print_table(("VARIABLE", "NOW", "MEANING"), rows)


def warn_of_strangers() -> None:
    """One line on standard error about variables that look like settings but are none."""
    odd = strangers(os.environ)
    said = [f"{name} is no setting" + (f" (is {meant} meant?)" if meant else "") for name, meant in odd.items()]
    if said:
        click.secho(f"warning: {'; '.join(said)}", fg="yellow", err=True)


def documentation() -> str:
    """The text of `docs/settings.md`."""
    lines = ["| variable | meaning | default |", "|---|---|---|"]
    lines += [f"| `{row.variable}` | {row.about} | {_default(row.default)} |" for row in config.table()]
    return _INTRODUCTION + "\n" + "\n".join(lines) + "\n" + _CLIENTS


def _default(value: Any) -> str:
    if value in (None, ""):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
