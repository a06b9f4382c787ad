"""What a task looks like on a terminal, with what is around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from taskqueue.cli.output import print_facts, print_table
from taskqueue.cli.program import program
from taskqueue.client import Task

_ATTEMPT = {
    "GENERATION": "generation",
    "ATTEMPT": "number",
    "KIND": "kind",
    "OUTCOME": "class",
    "STATUS": "statusCode",
    "ERROR": "errorMessage",
    "STARTED": "startedAt",
    "WORKER": "worker",
    "FINGERPRINT": "fingerprint",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is looked up beside a task."""

    webhooks: Sequence[Task] = ()
    chain: Sequence[Task] = ()
    attempts: Sequence[Mapping[str, Any]] = ()


def show_task(task: Task, *, as_json: bool, around: Surroundings | None = None) -> None:
    if as_json:
        click.echo(task.to_json())
        return
    raw, around = task.raw, around or Surroundings()
    result = task.result or {}
    print_facts(
        {
            "Id": task.id,
            "Status": task.status + (f" ({task.dead_reason})" if task.dead_reason else ""),
            "Target": f"{raw['method']} {raw['targetUrl']}",
            "Attempt": attempts_of(task),
            "Retry policy": _policy(raw["retryPolicy"]),
            "Created": raw["createdAt"],
            "Next": raw["nextAttemptAt"],
            "Finished": raw["finishedAt"],
            "Answer": result.get("statusCode"),
            "Body": result.get("body"),
            "Error": _error(task),
            "Fingerprint": _fingerprint(around.attempts) if task.error else None,
            "Asked": _asked(around.attempts),
            "Dead letter": _way_back(task) if task.status == "dead" else None,
            "Chain": "\n".join(_member(member, task) for member in around.chain) if len(around.chain) > 1 else None,
            "Webhooks": "\n".join(_failing(hook) for hook in around.webhooks if hook.error) or None,
        }
    )


def print_attempts(attempts: Sequence[Mapping[str, Any]]) -> None:
    print_table(tuple(_ATTEMPT), ([attempt.get(name) for name in _ATTEMPT.values()] for attempt in attempts))


def attempts_of(task: Task) -> str:
    return f"{task.attempt} of {task.max_attempts}"


def _policy(asked: str | Sequence[Any] | None) -> str | None:
    if asked is None or isinstance(asked, str):
        return asked
    return "1 rule" if len(asked) == 1 else f"{len(asked)} rules"


def _error(task: Task) -> str | None:
    return f"{task.error['class']}: {task.error['message']}" if task.error else None


def _fingerprint(attempts: Sequence[Mapping[str, Any]]) -> str | None:
    """Of the last call that failed, for the others of its cause to be looked for."""
    return next((attempt["fingerprint"] for attempt in reversed(attempts) if attempt["kind"] == "call"), None)


def _asked(attempts: Sequence[Mapping[str, Any]]) -> str | None:
    """How often it was asked whether the work was done, and what was said last."""
    asks = [attempt for attempt in attempts if attempt["kind"] == "reconcile"]
    if not asks:
        return None
    times = "once" if len(asks) == 1 else f"{len(asks)} times"
    said = asks[-1]["errorMessage"] or "the reconcile URL said: done"
    return f"{times}, last in attempt {asks[-1]['number']}: {said}"


def _way_back(task: Task) -> str:
    """How a dead task can be sent again."""
    letter = task.raw["deadLetterId"]
    return f"{letter}; run it again with: {program()} dead redrive {letter}" if letter else "deleted"


def _member(member: Task, shown: Task) -> str:
    itself = " (this task)" if member.id == shown.id else ""
    return f"{member.id} {member.status} {member.raw['method']} {member.raw['targetUrl']}{itself}"


def _failing(webhook: Task) -> str:
    """How the delivery of a webhook goes wrong, and what comes next."""
    next_at = webhook.raw["nextAttemptAt"]
    follows = f"next {next_at}" if next_at else webhook.status
    if webhook.status == "dead":
        follows = f"dead letter {_way_back(webhook)}"
    return f"{webhook.id} failed, attempt {attempts_of(webhook)}, {_error(webhook)}; {follows}"
