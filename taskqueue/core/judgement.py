"""The newest closed attempt of a task, in words: how it ended, which rule or row decided, and what that means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypedDict

from taskqueue.core import death, named_wait
from taskqueue.core.answer import class_of_status
from taskqueue.core.asking import Asked
from taskqueue.core.guidance import ADVICE, COMPENSATION, WORK, in_words, times
from taskqueue.core.lambda_function import is_event
from taskqueue.core.outcome import Charge, Compensation, Outcome, Partial
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Attempt, AttemptKind, Kind, Task, TaskState
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
        "stackTrace": list[str],  # as the function told it
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


_NOT_KNOWN = "whether something has to be undone is not known"
_VERDICT = re.compile(r"verdict [0-9]+(?= says )")


def last_outcome(task: Task, *, limits: Limits, attempts: Sequence[Attempt], asked: Asked | None) -> LastOutcome | None:
    """How the newest closed attempt ended and what followed from it; ``None`` before the first has closed.

    ``attempts`` are those of the task's generation, and ``asked`` what was asked since the last call.
    """
    attempt = task.last_attempt
    if attempt is None:
        return None
    outcome, row = attempt.outcome, attempt.outcome.cls
    decided_by, decision = _judged(task, attempt, limits, attempts, asked)
    compensation, undo = _compensation(outcome)
    return {
        "attempt": attempt.number,
        "attemptId": str(attempt.id),
        "kind": attempt.kind.value,
        "class": row.name,
        "meaning": meaning(outcome),
        "statusCode": outcome.response.status if outcome.response else None,
        "errorType": outcome.error_type,
        "errorMessage": outcome.error_message,
        "stackTrace": list(outcome.stack),
        "finishedAt": rfc3339(attempt.finished_at),
        "decidedBy": decided_by,
        "decision": decision,
        "charged": attempt.charged,
        "partialWork": outcome.partial.label,
        "partialMeaning": _work(task, outcome),
        "compensation": compensation.value,
        "compensationMeaning": undo,
        "advice": advice(outcome),
    }


def meaning(outcome: Outcome) -> str:
    """What an outcome was; our own troubles are too many for one row of the table."""
    if outcome.cls.name == "local_resource" and outcome.error_message is not None:
        return outcome.error_message
    return outcome.cls.meaning


def by_verdict(outcome: Outcome) -> bool:
    """Whether only a verdict of the caller made a success of this answer."""
    response = outcome.response
    if outcome.cls.name != "success" or response is None:
        return False
    return class_of_status(response.status).name != "success" or response.header("x-amz-function-error") is not None


def advice(outcome: Outcome) -> str:
    """What a person can do about it."""
    if outcome.cls.name == "local_resource" and outcome.error_type == "NotConfigured":
        return "Give the workers what the message names; the task goes on by itself."
    return ADVICE.get(outcome.cls.name, "Look at the attempt: a newer version wrote it.")


def _work(task: Task, outcome: Outcome) -> str:
    if outcome.cls.name != "success":
        return WORK[outcome.partial]
    return (
        "handed to Lambda; whether it ran is not known here" if is_event(task.spec.target_url) else "the work was done"
    )


def _compensation(outcome: Outcome) -> tuple[Compensation, str]:
    row = outcome.cls
    if outcome.partial > Partial.NO and row.compensation is Compensation.NO:
        return Compensation.DEPENDS, _NOT_KNOWN
    return row.compensation, COMPENSATION[row.compensation]


def _judged(
    task: Task, attempt: Attempt, limits: Limits, attempts: Sequence[Attempt], asked: Asked | None
) -> tuple[str, str]:
    """What decided over the attempt, and how."""
    name, ending = attempt.outcome.cls.name, task.ending
    if attempt.kind is AttemptKind.RECONCILE:
        return "reconcile", "it was no call of the target, but asked whether the work was done; it uses up no retry"
    if name == "success":
        made = by_verdict(attempt.outcome)
        return "a verdict of the task" if made else "the table of outcome classes", "the task succeeded"
    if name == "cancelled":
        return "whoever cancelled it", "the task was called off"
    terms = death.terms_of(task, attempt)
    decider = _decider(task, attempt, terms)
    if ending is not None and ending.reason is not None:
        unanswered = asked is not None and death.unanswered(asked)
        why = death.because(task, ending, attempts=attempts or (attempt,), asked=asked, limits=limits)
        return "reconcile, by onUnknown" if unanswered else decider, f"it ended ({ending.reason}) because {why}"
    decision = _decision(task, terms, limits)
    return decider, f"{decision}; then it was cancelled" if task.state is TaskState.CANCELLED else decision


def _decider(task: Task, attempt: Attempt, terms: Terms) -> str:
    outcome, waits = terms.outcome, ""
    if task.spec.kind is Kind.WEBHOOK:
        return "the schedule of webhooks"
    if terms.retryable and terms.named is not None and not terms.now:
        waits = f"the target, by {named_wait.header(attempt)}"
    if terms.rule is not None:
        rule = death.rule_in_words(task, terms)
        return f"{rule}; over the wait, {waits}" if waits else rule
    if outcome.cls.name == "aborted":
        return death.aborted_by(outcome)
    if outcome.forced_retry:
        return "the target, by Taskqueue-Control: retry"
    if outcome.error_type == "Verdict" and (said := _VERDICT.match(outcome.error_message or "")):
        return f"{said[0]} of the task; over the wait, {waits}" if waits else f"{said[0]} of the task"
    return waits or "the table of outcome classes"


def _decision(task: Task, terms: Terms, limits: Limits) -> str:
    if not terms.retryable:
        return f"not retried: {death.refusal(task, terms)}"
    rule = terms.rule
    patience = f", for {in_words(rule.within)} at most" if rule is not None and rule.within is not None else ""
    if terms.own_budget:
        free = " and uses up no retry" if terms.charge is Charge.FREE else ""
        return f"retried up to {times(terms.retries)} after what this rule matches{patience}{free}"
    if terms.charge is Charge.FREE:
        return f"retried{patience or ', until the task expires'}; it uses up no retry"
    if terms.charge is Charge.LOST:
        return f"retried{patience}; its worker was lost, which may happen {times(limits.lost_limit)}"
    within = f", up to {times(terms.class_retries)} after this class" if terms.class_retries is not None else ""
    last = "its one retry lasts" if terms.retries == 1 else f"its {terms.retries} retries last"
    return f"retried{within}{patience}, as long as {last}"
