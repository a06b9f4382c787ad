"""What a task looks like on a terminal, with what is around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from taskqueue.cli.output import print_facts, print_table
from taskqueue.cli.program import program
from taskqueue.client import Task, TaskQueue
from taskqueue.core.guidance import error_in_words

_ATTEMPT = {
    "GENERATION": "generation",
    "ATTEMPT": "number",
    "KIND": "kind",
    "OUTCOME": "class",
    "STATUS": "statusCode",
    "ERROR": "error",
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
    compensation_id: str | None = None  # what was submitted because the task died

    @classmethod
    def of(cls, queue: TaskQueue, task: Task) -> Surroundings:
        """What there is to show, each asked for only where there can be some."""
        raw, letter = task.raw, task.raw["deadLetterId"]
        has_family = raw["parentId"] or raw["onFailure"] or raw["onSuccess"]
        return cls(
            webhooks=queue.tasks.webhooks(task.id) if "webhooks" in raw["links"] else (),
            chain=queue.tasks.chain(task.id) if has_family else (),
            attempts=queue.tasks.attempts(task.id) if task.error or raw["reconcile"] else (),
            compensation_id=queue.dead_letters.get(letter)["compensationId"] if letter and raw["onFailure"] else None,
        )


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
            "Dead letter": _way_back(task, around.compensation_id) if task.status == "dead" else None,
            "Chain": "\n".join(_member(member, task, around.chain) for member in around.chain)
            if len(around.chain) > 1
            else None,
            "Webhooks": "\n".join(_failing(hook) for hook in around.webhooks if hook.error) or None,
        }
    )


def print_attempts(attempts: Sequence[Mapping[str, Any]]) -> None:
    told = ({**attempt, "error": error_of(attempt)} for attempt in attempts)
    print_table(tuple(_ATTEMPT), ([attempt.get(name) for name in _ATTEMPT.values()] for attempt in told))


def error_of(shown: Mapping[str, Any]) -> str | None:
    """The error of an attempt, or of a group of deaths, in words."""
    return error_in_words(shown["errorType"], shown["errorMessage"])


def attempts_of(task: Task) -> str:
    return f"{task.attempt} of {task.max_attempts}"


def _policy(asked: str | Sequence[Any] | None) -> str | None:
    if asked is None or isinstance(asked, str):
        return asked
    return "1 rule" if len(asked) == 1 else f"{len(asked)} rules"


def _error(task: Task) -> str | None:
    return f"{task.error['class']}: {error_in_words(task.error['type'], task.error['message'])}" if task.error else None


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


def _way_back(task: Task, compensation_id: str | None = None) -> str:
    """How a dead task can be sent again, and what to know before."""
    letter = task.raw["deadLetterId"]
    if not letter:
        return "deleted"
    redrive = f"{program()} dead redrive {letter}"
    look = f"{program()} tasks explain {task.id}"
    if compensation_id is not None:
        why = f"by force, since task {compensation_id} was submitted to compensate for this death"
        return f"{letter}; see first: {look}; run it again, {why}, with: {redrive} --force"
    if task.error and task.error["partialWork"] == "likely":
        return f"{letter}; the work may be done already, see first: {look}; run it again with: {redrive}"
    return f"{letter}; run it again with: {redrive}"


def _member(member: Task, shown: Task, chain: Sequence[Task]) -> str:
    parent = next((other for other in chain if other.id == member.raw["parentId"]), None)
    role = _role(member, parent) if parent is not None else None
    marks = [mark for mark in (role, "this task" if member.id == shown.id else None) if mark]
    named = f"{member.id} {member.status} {member.raw['method']} {member.raw['targetUrl']}"
    return f"{named} ({', '.join(marks)})" if marks else named


def _role(member: Task, parent: Task) -> str | None:
    """What a task does for the one it follows; ``None`` where that asked for both and they look alike."""
    failure, success = (parent.raw[name] for name in ("onFailure", "onSuccess"))
    fits = [each is not None and each["task"]["targetUrl"] == member.raw["targetUrl"] for each in (failure, success)]
    if fits == [True, True] and parent.status != "dead":
        return None
    return "compensation" if fits[0] else "on success" if fits[1] else None


def _failing(webhook: Task) -> str:
    """How the delivery of a webhook goes wrong, and what comes next."""
    next_at = webhook.raw["nextAttemptAt"]
    follows = f"next {next_at}" if next_at else webhook.status
    if webhook.status == "dead":
        follows = f"dead letter {_way_back(webhook)}"
    return f"{webhook.id} failed, attempt {attempts_of(webhook)}, {_error(webhook)}; {follows}"
