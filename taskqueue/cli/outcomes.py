"""`taskqueue outcomes`: the table of outcome classes; also the one in the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, print_json, print_table
from taskqueue.core.guidance import ADVICE, retried, waits
from taskqueue.core.outcome import CLASSES, Compensation, OutcomeClass

GROUPS: Mapping[str, tuple[str, ...]] = {
    "The target was never reached": (
        *("dns_not_found", "dns_failure", "target_forbidden", "connect_refused", "connect_unreachable"),
        *("connect_timeout", "tls_certificate", "tls_handshake", "tls_timeout", "local_resource", "released"),
    ),
    "Cut off": (
        *("send_aborted", "no_response", "timeout", "truncated_response", "protocol_error", "redirect"),
        *("worker_lost", "interrupted", "cancelled"),
    ),
    "The target answered": (
        *("success", "bad_request", "unauthorized", "not_found", "gone", "too_large", "request_timeout", "conflict"),
        *("too_early", "throttled", "aborted", "server_error", "bad_gateway", "unavailable", "gateway_timeout"),
    ),
    "A verdict rule of yours judged the answer": ("verdict_retry", "verdict_fail", "verdict_defer"),
    "Lambda": (
        *("service_error", "function_config", "function_not_ready", "function_handled_error", "function_error"),
        *("function_timeout", "function_out_of_memory", "function_crashed", "function_init_failed"),
        "function_bad_result",
    ),
}
_COLUMNS = ("class", "when", "retried", "after a wait of", "work done", "compensation", "what to do")
_BEGIN, _END = "<!-- classes: made by make docs -->\n", "<!-- end of classes -->\n"


@click.command()
@as_json
@click.option("--markdown", is_flag=True, help="Print the documentation's tables instead.")
@click.option("--into", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Put them into this page.")
def outcomes(*, as_json: bool, markdown: bool, into: Path | None) -> None:
    """Show every way an attempt can end, and what follows from it."""
    if into is not None:
        into.write_text(documentation(into.read_text()))
    elif markdown:
        click.echo(tables(), nl=False)
    elif as_json:
        print_json([dict(zip(_COLUMNS, _cells(row), strict=True)) for row in CLASSES.values()])
    else:
        rows = (_cells(CLASSES[name])[:-1] for names in GROUPS.values() for name in names)
        print_table(tuple(column.upper() for column in _COLUMNS[:-1]), rows)


def documentation(page: str) -> str:
    """``page`` with the tables as they are now; it marks where they belong."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        fail(f"the page does not say where the tables belong: between {_BEGIN.strip()} and {_END.strip()}")
    return f"{before}{begin}\n{tables()}\n{end}{after}"


def tables() -> str:
    """The tables of the documentation, one per group."""
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"
    groups = (f"### {title}\n\n{head}{_rows(names)}" for title, names in GROUPS.items())
    return "\n".join([*groups, _named_waits()])


def _named_waits() -> str:
    """Which answers may name the wait themselves."""
    *names, last = (f"`{row.name}`" for row in CLASSES.values() if row.honours_retry_after)
    return (
        "### A wait that the answer names\n\n"
        f"It is honoured after {', '.join(names)} and {last}.\n"
        "After every other class it is ignored: a `Retry-After` on a 500 changes nothing.\n"
    )


def _rows(names: tuple[str, ...]) -> str:
    lines = ((f"`{name}`", *_cells(CLASSES[name])[1:]) for name in names)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: OutcomeClass) -> tuple[str, ...]:
    compensation = "" if row.compensation is Compensation.NO else row.compensation.value
    work = "" if row.name == "success" else row.partial.label
    return row.name, row.meaning, retried(row), waits(row), work, compensation, ADVICE[row.name]
