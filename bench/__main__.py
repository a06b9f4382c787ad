"""`python -m bench`: measure, and print each ratio as soon as it is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click

from bench import api, backlog, claim, deliver, drain, fair, peer_report, peers, service, settle, submit
from bench.databases import NAMES, Place, place
from bench.report import Plan, Row, heading, legend, line, machine
from bench.sizes import DEFAULT, FULL, TINY, Sizes

OF_A_DATABASE: dict[str, Callable[[Place, Sizes], Iterator[Row | Plan]]] = {
    "submit": submit.measure,
    "claim": claim.measure,
    "settle": settle.measure,
    "api": api.measure,
    "drain": drain.measure,
    "service": service.measure,
    "backlog": backlog.measure,
    "fair": fair.measure,
}
PARTS = ("deliver", *OF_A_DATABASE)


@click.command()
@click.option("--only", help=f"Parts to measure, with commas between them: {', '.join(PARTS)}.")
@click.option("--database", "names", type=click.Choice(NAMES), multiple=True, default=NAMES, help="One database alone.")
@click.option("--peers", "with_peers", is_flag=True, help="Other queues beside ours on PostgreSQL, and nothing else.")
@click.option("--full", is_flag=True, help="More rounds, and a million waiting tasks with the plan of the claim.")
@click.option("--tiny", is_flag=True, help="Only show that it runs; the figures mean nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the rows go to standard error meanwhile.")
def main(only: str | None, names: tuple[str, ...], with_peers: bool, full: bool, tiny: bool, as_json: bool) -> None:
    """What each part costs, as a ratio to the bare part it is built on, measured in turn in this one run."""
    if with_peers:
        _show_peers(TINY if tiny else FULL if full else DEFAULT, as_json)
        return
    chosen = only.split(",") if only else list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        raise click.BadParameter(f"no part is called {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    sizes = TINY if tiny else FULL if full else DEFAULT
    rows: list[Row] = []
    plans: list[Plan] = []
    click.echo(heading(), err=as_json)
    for measured in _measured(chosen, names, sizes):
        if isinstance(measured, Row):
            rows.append(measured)
            click.echo(line(measured), err=as_json)
        else:
            plans.append(measured)
    click.echo(f"\n{legend()}", err=as_json)
    for plan in plans:
        click.echo(f"\n{plan.title}, {plan.database}:\n{plan.text}", err=as_json)
    if as_json:
        found = {"rows": [row.as_json() for row in rows], "plans": [asdict(plan) for plan in plans]}
        json.dump({"machine": machine(), **found}, sys.stdout, indent=1)


def _show_peers(sizes: Sizes, as_json: bool) -> None:
    click.echo(peer_report.heading(), err=as_json)
    rows = []
    for row in peers.measure(sizes):
        rows.append(row.as_json())
        click.echo(peer_report.line(row), err=as_json)
    click.echo(f"\n{peer_report.legend()}", err=as_json)
    if as_json:
        json.dump({"machine": machine(), "peers": rows}, sys.stdout, indent=1)


def _measured(chosen: list[str], names: tuple[str, ...], sizes: Sizes) -> Iterator[Row | Plan]:
    if "deliver" in chosen:
        yield from deliver.measure(sizes)
    for name in names:
        with place(name) as where:
            for part in (each for each in OF_A_DATABASE if each in chosen):
                where.empty()
                yield from OF_A_DATABASE[part](where, sizes)


if __name__ == "__main__":
    main()
