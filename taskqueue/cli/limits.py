"""What the commands about queues and flow keys share: limits as they are typed, and as they are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from taskqueue.cli.arguments import options, read_span
from taskqueue.cli.failure import fail
from taskqueue.cli.output import print_facts, print_json
from taskqueue.cli.pages import page_at, print_page
from taskqueue.client import TaskQueue

_RATE = re.compile(r"([0-9]{1,9})/(.+)")
_DEPTH = ("scheduled", "queued", "running", "retrying", "held")
of_bounds = options(
    click.option("--concurrency", type=int, help="So many may run at once, on all workers together."),
    click.option("--rate", metavar="LIMIT/PERIOD", help="So many may start in a time, as 100/1m."),
    click.option("--burst", type=int, help="So many of the rate may start at once after a pause; by default all."),
    click.option("--paused", is_flag=True, help="Start nothing until it is resumed."),
)


def path_of(noun: str, name: str, *verb: str) -> str:
    """Where a queue or flow key is; a key that is a URL keeps its slashes to itself."""
    return "/".join((f"/v1/{noun}", quote(name, safe=""), *verb))


def read_bounds(*, concurrency: int | None, rate: str | None, burst: int | None, paused: bool) -> dict[str, Any]:
    """The options as the service takes them."""
    fields: dict[str, Any] = {}
    if paused:
        fields["paused"] = True
    if concurrency is not None:
        fields["concurrency"] = concurrency
    if rate is None:
        if burst is not None:
            fail("--burst goes with --rate; give one, as --rate 100/1m")
        return fields
    parts = _RATE.fullmatch(rate)
    if parts is None:
        fail(f"--rate is LIMIT/PERIOD, as 100/1m; {rate!r} is not")
    its_burst = {} if burst is None else {"burst": burst}
    fields["rate"] = {"limit": int(parts[1]), "period": read_span(parts[2]), **its_burst}
    return fields


def print_list(noun: str, name: str, *, as_json: bool, **asked: str | int | None) -> None:
    """A page of the list, each item by its ``name``."""
    page = page_at(f"/v1/{noun}", asked)
    columns = (name.upper(), "PAUSED", "CONCURRENCY", "RATE", *(kind.upper() for kind in _DEPTH), "OLDEST READY")
    rows = (
        [item[name], item["paused"], item["concurrency"], _rate(item), *_depth(item), _age(item)]
        for item in page["items"]
    )
    print_page(page, columns, rows, as_json=as_json)


def print_one(method: str, path: str, body: Mapping[str, Any] | None = None, *, as_json: bool) -> None:
    """What a call answers: a queue or a flow key as it is now."""
    found, text = TaskQueue()._call(method, path, body)
    if as_json:
        click.echo(text)
        return
    stats = found["stats"]
    print_facts(
        {
            "Queue": found.get("name"),
            "Flow key": found.get("key"),
            "Paused": found["paused"],
            "Concurrency": found["concurrency"],
            "Rate": _rate(found),
            "On death": found.get("onDeath"),
            "Defaults": found.get("defaults") or None,
            **dict(zip((kind.capitalize() for kind in _DEPTH), _depth(found), strict=True)),
            "In flight": stats["inFlight"],
            "Blocked keys": stats.get("blockedKeys") or None,
            "Oldest ready": _age(found),
            "Arrivals": f"{stats['arrivalsPerSecond']:g} per second",
            "Completions": f"{stats['completionsPerSecond']:g} per second",
        }
    )


def purge(path: str, *, as_json: bool) -> None:
    """Begin to cancel all that waits, and say where its progress is."""
    found, _ = TaskQueue()._call("POST", path)
    if as_json:
        print_json(found)
        return
    click.echo(f"Waiting tasks that are being cancelled: {found['matched']}; see {found['links']['self']}")


def remove(path: str, name: str, *, as_json: bool) -> None:
    """Forget what was said about it."""
    TaskQueue()._call("DELETE", path)
    if as_json:
        print_json({"deleted": name})
        return
    click.echo(f"Nothing is defined for {name} any more; its tasks stay.")


def _rate(item: Mapping[str, Any]) -> str | None:
    rate = item["rate"]
    if rate is None:
        return None
    burst = f", {rate['burst']} at once" if rate["burst"] != rate["limit"] else ""
    return f"{rate['limit']} per {rate['period']:g} s{burst}"


def _depth(item: Mapping[str, Any]) -> list[str]:
    """The counts; those that may be higher say so."""
    depth = item["stats"]["depth"]
    more = "+" if depth["capped"] else ""
    return [f"{depth[kind]}{more if depth[kind] and kind != 'running' else ''}" for kind in _DEPTH]


def _age(item: Mapping[str, Any]) -> str | None:
    age = item["stats"]["oldestReadyAge"]
    return None if age is None else f"{age:g} s"
