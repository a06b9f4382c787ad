"""`taskqueue simulate`: what a retry policy would do. It asks nobody and stores nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click
import msgspec

from taskqueue.cli.arguments import read_retry_policy, read_span
from taskqueue.cli.failure import fail
from taskqueue.cli.output import as_json, print_facts, print_json, print_table
from taskqueue.cli.payload import read_json
from taskqueue.client import RawJson
from taskqueue.config import Settings
from taskqueue.core.guidance import in_words
from taskqueue.core.task import AttemptKind
from taskqueue.core.terms import Limits
from taskqueue.web.problems import Problem
from taskqueue.web.simulate import simulate as play

_MOST_ROWS = 40
_SPANS = {"timeout": "timeout", "expires_in": "expiresIn", "retry_after": "retryAfter"}


@click.command()
@click.option("--retry-policy", metavar="NAME|JSON", help="default, any-error, lambda-async, never; or rules.")
@click.option("--retries", type=int, help="Attempts after the first.")
@click.option("--timeout", help="Limit for one attempt, as 30, 1m30s or 500ms.")
@click.option("--backoff", metavar="JSON", help='The waits, as {"type": "fixed", "initial": "30s"}.')
@click.option("--expires-in", help="No attempt starts later than this.")
@click.option("--on-lost", metavar="retry|dead", help="What becomes of a task when its worker vanishes.")
@click.option("--poison-after", type=int, help="Give up after so many identical failures in a row.")
@click.option("--reconcile", metavar="JSON", help='Whom to ask, as {"url": "https://…", "onUnknown": "hold"}.')
@click.option("--answer", metavar="done|not-done|unknown|down", help="What the reconcile URL says each time.")
@click.option("--outcome", "outcomes", multiple=True, help="How attempts end; of several, the last goes on.")
@click.option("--error-type", help="The type of their error, for rules that match errorType:.")
@click.option("--retry-after", help="The wait that the target asks for each time.")
@as_json
def simulate(*, as_json: bool, **given: Any) -> None:
    """Show when a task would be tried, and when it would be given up, if its attempts failed."""
    limits = Limits(lost_limit=Settings.from_env(os.environ).lost_limit)
    try:
        found = play(_body(**given), limits=limits)
    except Problem as problem:
        fail("; ".join(f"{fault['pointer']}: {fault['detail']}" for fault in problem.errors))
    if as_json:
        print_json(found)
        return
    rows = [
        (each["number"], _outcome(each), each["charged"], *map(_span, _window(each)))
        for each in found["attempts"][:_MOST_ROWS]
    ]
    print_table(("ATTEMPT", "OUTCOME", "CHARGED", "EARLIEST", "EXPECTED", "LATEST"), rows)
    if (more := len(found["attempts"]) - _MOST_ROWS) > 0:
        click.echo(f"… and {more} more: --json shows them")
    click.echo()
    gives_up = found["givesUp"]
    print_facts(
        {
            "So": found["detail"],
            "Gives up after": " to ".join(dict.fromkeys(map(_span, _ends(gives_up)))) if gives_up else None,
            "Worst case": f"{_span(found['worstCaseSeconds'])}, with attempts that take all their time",
        }
    )


def _body(*, outcomes: Sequence[str], retry_policy: str | None, **plain: Any) -> bytes:
    """The request that the API would get."""
    fields: dict[str, Any] = {}
    if retry_policy is not None:
        fields["retryPolicy"] = _raw(read_retry_policy(retry_policy))
    for name in ("backoff", "reconcile"):
        if (text := plain.pop(name)) is not None:
            fields[name] = _raw(read_json(text, f"--{name}"))
    if outcomes:
        fields["outcome"] = outcomes[0] if len(outcomes) == 1 else outcomes
    for name, other in _SPANS.items():
        if (text := plain.pop(name)) is not None:
            fields[other] = read_span(text)
    names = {"on_lost": "onLost", "poison_after": "poisonAfter", "error_type": "errorType"}
    fields |= {names.get(name, name): value for name, value in plain.items() if value is not None}
    return msgspec.json.encode(fields)


def _raw(value: str | RawJson) -> str | msgspec.Raw:
    return msgspec.Raw(value) if isinstance(value, RawJson) else value


def _outcome(attempt: Any) -> str:
    asks = attempt["kind"] == AttemptKind.RECONCILE
    return f"asked: {attempt['outcome']}" if asks else str(attempt["outcome"])


def _window(attempt: Any) -> tuple[float | None, ...]:
    return attempt["earliest"], attempt["expected"], attempt["latest"]


def _ends(gives_up: Any) -> tuple[float, float]:
    return gives_up["earliest"], gives_up["latest"]


def _span(seconds: float | None) -> str:
    return "never" if seconds is None else in_words(timedelta(seconds=seconds))
