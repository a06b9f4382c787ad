"""`taskqueue tasks explain`: why a task is where it is, what comes next, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskqueue.cli.output import as_json, plain, print_facts, print_json, print_table
from taskqueue.cli.program import as_called
from taskqueue.client import TaskQueue
from taskqueue.core.guidance import error_in_words

_MOST_ROWS = 20  # of a plan on a terminal
_MOST_LINES = 8  # of a stack trace


@click.command()
@click.argument("task_id")
@as_json
def explain(task_id: str, *, as_json: bool) -> None:
    """Say why a task is where it is, what comes next and when, and what to do."""
    found = TaskQueue().tasks.explain(task_id)
    if as_json:
        print_json(found)
        return
    click.echo(plain(found["why"]))
    click.echo()
    print_facts(
        {
            "Id": found["id"],
            "Status": found["status"],
            "Blocked by": _lines(_blocker(blocker) for blocker in found["blockedBy"]),
            "Blocks": _block(found["blocks"]) if found["blocks"] else None,
            "Next": _next(found["next"]) if found["next"] else None,
            "Expires": found["expiresAt"] if found["next"] else None,
            **_outcome(found["lastOutcome"]),
            "Asked": found["asked"]["detail"] if found["asked"] else None,
            "Followed by": _lines(found["followedBy"]),
            "If it succeeds": _lines(found["onSuccess"]),
            "If it dies": _lines(found["onDeath"]),
            "To do": as_called(_lines(found["advice"]) or "") or None,
            "Mind": _lines(found["caveats"]),
            "Plan": found["plan"]["detail"] if found["plan"] else None,
        }
    )
    if found["plan"] and found["plan"]["attempts"]:
        click.echo()
        _print_plan(found["plan"]["attempts"])


def _outcome(last: Mapping[str, Any] | None) -> dict[str, str | None]:
    if last is None:
        return {}
    return {
        "Last outcome": f"attempt {last['attempt']}: {last['class']} ({last['meaning']})",
        "Attempt id": last["attemptId"],
        "Error": error_in_words(last["errorType"], last["errorMessage"]),
        "Stack trace": _stack(last["stackTrace"]),
        "Decided by": last["decidedBy"],
        "Decision": last["decision"],
        "Work": last["partialMeaning"],
        "Compensation": last["compensationMeaning"] if last["class"] != "success" else None,
    }


def _stack(lines: Sequence[str]) -> str | None:
    more = len(lines) - _MOST_LINES
    return _lines([*lines[:_MOST_LINES], *([f"… and {more} more lines: --json shows them"] if more > 0 else [])])


def _blocker(blocker: Mapping[str, Any]) -> str:
    named = [f"task {blocker['taskId']}"] if blocker["taskId"] else []
    named += [f"worker {blocker['worker']}"] if blocker["worker"] else []
    named += [f"{word} {blocker[word]}" for word in ("since", "until") if blocker[word]]
    return str(blocker["detail"]) + (f" ({', '.join(named)})" if named else "")


def _block(block: Mapping[str, Any]) -> str:
    more = "+" if block["capped"] else ""
    return f"ordering key {block['orderingKey']} since {block['since']}; waiting: {block['waiting']}{more}"


def _next(following: Mapping[str, Any]) -> str:
    span = [f"from {following['earliest']}"] if following["earliest"] else []
    span += [f"until {following['latest']}"] if following["latest"] else []
    return str(following["detail"]) + (f" ({', '.join(span)})" if span else "")


def _print_plan(attempts: Sequence[Mapping[str, Any]]) -> None:
    columns = ("number", "kind", "earliest", "expected", "latest")
    rows = ([attempt[name] for name in columns] for attempt in attempts[:_MOST_ROWS])
    print_table(("ATTEMPT", "KIND", "EARLIEST", "EXPECTED", "LATEST"), rows)
    if len(attempts) > _MOST_ROWS:
        click.echo(f"… and {len(attempts) - _MOST_ROWS} more: --json shows them")


def _lines(texts: Any) -> str | None:
    return "\n".join(texts) or None
