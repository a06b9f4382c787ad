"""The newest closed attempt of a task, in words: how it ended, which rule or row decided, and what that means."""

from __future__ import annotations

from typing import TypedDict

from taskqueue.core import retry
from taskqueue.core.answer import steered
from taskqueue.core.guidance import ADVICE, COMPENSATION, WORK, in_words
from taskqueue.core.outcome import Charge, Outcome
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Attempt, AttemptKind, Kind, Task
from taskqueue.core.terms import Limits, Terms

LastOutcome = TypedDict(
    "LastOutcome",
    {
        "attempt": int,
        "attemptId": str,
        "kind": str,  # call, or reconcile: somebody was asked whether the work was done
        "class": str,
        "meaning": str,
        "statusCode": int | None,
        "errorType": str | None,
        "errorMessage": str | None,
        "finishedAt": str,
        "decidedBy": str,
        "decision": str,
        "charged": bool,
        "partialWork": str,
        "partialMeaning": str,
        "compensation": str,
        "compensationMeaning": str,
        "advice": str,
    },
)


def last_outcome(task: Task, *, limits: Limits) -> LastOutcome | None:
    """How the newest closed attempt ended and what followed from it; ``None`` before the first has closed."""
    attempt = task.last_attempt
    if attempt is None:
        return None
    outcome, row = attempt.outcome, attempt.outcome.cls
    decided_by, decision = _judged(task, attempt, limits)
    return {
        "attempt": attempt.number,
        "attemptId": str(attempt.id),
        "kind": attempt.kind.value,
        "class": row.name,
        "meaning": row.meaning,
        "statusCode": outcome.response.status if outcome.response else None,
        "errorType": outcome.error_type,
        "errorMessage": outcome.error_message,
        "finishedAt": rfc3339(attempt.finished_at),
        "decidedBy": decided_by,
        "decision": decision,
        "charged": attempt.charged,
        "partialWork": outcome.partial.label,
        "partialMeaning": WORK[outcome.partial] if row.name != "success" else "the work was done",
        "compensation": row.compensation.value,
        "compensationMeaning": COMPENSATION[row.compensation],
        "advice": ADVICE.get(row.name, "Look at the attempt: a newer version wrote it."),
    }


def _judged(task: Task, attempt: Attempt, limits: Limits) -> tuple[str, str]:
    """What decided over the attempt, and how."""
    name = attempt.outcome.cls.name
    if attempt.kind is AttemptKind.RECONCILE:
        return "reconcile", "it was no call of the target, but asked whether the work was done; it uses up no retry"
    if name == "success":
        return "the table of outcome classes", "the task succeeded"
    if name == "cancelled":
        return "whoever cancelled it", "the task was called off"
    outcome = steered(attempt.outcome)
    terms = Terms.of(task, outcome, named=retry.named_wait(outcome, attempt.finished_at))
    ending, decision = task.ending, _decision(terms, limits)
    if terms.retryable and ending is not None and ending.reason is not None:
        decision = f"{decision}; then it died ({ending.reason})"
    return _decider(task, outcome, terms), decision


def _decider(task: Task, outcome: Outcome, terms: Terms) -> str:
    if task.spec.kind is Kind.WEBHOOK:
        return "the schedule of webhooks"
    if terms.rule is not None:
        preset = task.spec.policy.preset
        where = f"of the preset {preset}" if preset else "of retryPolicy"
        return f"rule {terms.rule_index} {where} ({', '.join(terms.rule.match)})"
    if outcome.forced_retry:
        return "the target, by Taskqueue-Control: retry"
    return "the table of outcome classes"


def _decision(terms: Terms, limits: Limits) -> str:
    if not terms.retryable:
        return "not retried: another attempt would not change it"
    rule = terms.rule
    patience = f", for {in_words(rule.within)} at most" if rule is not None and rule.within is not None else ""
    if terms.own_budget:
        free = " and uses up no retry" if terms.charge is Charge.FREE else ""
        return f"retried up to {_times(terms.retries)} after what this rule matches{patience}{free}"
    if terms.charge is Charge.FREE:
        return f"retried{patience or ', until the task expires'}; it uses up no retry"
    if terms.charge is Charge.LOST:
        return f"retried{patience}; its worker was lost, which may happen {_times(limits.lost_limit)}"
    within = f", up to {_times(terms.class_retries)} after this class" if terms.class_retries is not None else ""
    last = "its one retry lasts" if terms.retries == 1 else f"its {terms.retries} retries last"
    return f"retried{within}{patience}, as long as {last}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
