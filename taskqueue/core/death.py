"""What ended a dead task, in words: the limit, the rule or the time that left no further attempt."""

from __future__ import annotations

from collections.abc import Sequence

from taskqueue.core import named_wait, retry
from taskqueue.core.answer import steered
from taskqueue.core.asking import Asked
from taskqueue.core.guidance import in_words, times
from taskqueue.core.outcome import Outcome
from taskqueue.core.policy import OnLost
from taskqueue.core.reason import DeadReason
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Attempt, AttemptKind, Ending, Kind, Progress, Task
from taskqueue.core.terms import Limits, Terms

_MOST_PATTERNS = 3
_COMMON = {
    DeadReason.EXHAUSTED: "every attempt that it was allowed failed",
    DeadReason.REJECTED: "another attempt would not have changed the outcome",
    DeadReason.EXPIRED: "its time was up",
    DeadReason.LOST: "it lost its workers more often than it may",
    DeadReason.POISON: "the same failure came again and again",
    DeadReason.PARKED: "an older task of its ordering key died, and the queue parks what waits behind such a one",
    DeadReason.UNCERTAIN: "there was no time left to ask whether the work was done, and onUnknown is hold",
}


def terms_of(task: Task, attempt: Attempt) -> Terms:
    """What a call that is on record meant for its task."""
    outcome = steered(attempt.outcome)
    return Terms.of(task, outcome, named=retry.named_wait(outcome, attempt.finished_at))


def because(task: Task, ending: Ending, *, attempts: Sequence[Attempt], asked: Asked | None, limits: Limits) -> str:
    """Why there was no further attempt, as the clause of a sentence; ``attempts`` are all of the generation."""
    reason = ending.reason
    assert reason is not None, "a death has a reason"
    if asked is not None and unanswered(asked):
        return f"nobody could say whether the work was done, and onUnknown is {asked['onUnknown']}"
    calls = [attempt for attempt in attempts if attempt.kind is AttemptKind.CALL]
    if not calls:
        return _born_late(task) or _COMMON[reason]
    policy, terms = task.spec.policy, terms_of(task, calls[-1])
    match reason:
        case DeadReason.EXPIRED:
            return _too_late(task, calls[-1]) if ending.attempt_id else "its time was up before the next attempt"
        case DeadReason.LOST if policy.on_lost is OnLost.DEAD:
            return "onLost is dead and its worker was lost"
        case DeadReason.LOST:
            return f"its worker was lost more often than it may: the limit is {times(limits.lost_limit)}"
        case DeadReason.POISON:
            return f"{policy.poison_after} identical failures came in a row (poisonAfter is {policy.poison_after})"
        case DeadReason.REJECTED:
            return refusal(task, terms)
        case DeadReason.EXHAUSTED:
            return _exhaustion(task, calls, terms, limits)
        case _:
            return _COMMON[reason]


def _born_late(task: Task) -> str | None:
    """Of a follow-up whose expiry had passed before it was submitted; nothing else is accepted so late."""
    if task.expires_at > task.created_at:
        return None
    return f"its expiresAt, {rfc3339(task.expires_at)}, had passed when the task ended that it follows"


def unanswered(asked: Asked) -> bool:
    """Whether a task that died did so because nobody could say whether its work was done."""
    return asked["onUnknown"] != "retry" and asked["lastAnswer"] != "not-done"


def refusal(task: Task, terms: Terms) -> str:
    """Why an outcome is not retried, as a clause."""
    if terms.rule is not None and not terms.retryable:
        preset = task.spec.policy.preset
        return f"{f'the preset {preset}' if preset else f'your {rule_in_words(task, terms)}'} allows no retry"
    if terms.outcome.cls.name == "aborted":
        return "the target said not to try again"
    if terms.outcome.cls.name == "verdict_fail":
        return "a verdict of the task calls this a failure for good"
    return _COMMON[DeadReason.REJECTED]


def rule_in_words(task: Task, terms: Terms) -> str:
    """The rule that decided, so that its owner finds it."""
    assert terms.rule is not None, "a rule decided"
    preset, patterns = task.spec.policy.preset, terms.rule.match
    if preset is not None:
        return f"rule {terms.rule_index} of the preset {preset}"
    shown = ", ".join(patterns[:_MOST_PATTERNS]) + (", …" if len(patterns) > _MOST_PATTERNS else "")
    return f"rule {terms.rule_index} of retryPolicy ({shown})"


def aborted_by(outcome: Outcome) -> str:
    """The word of the target that called it a failure for good."""
    response = outcome.response
    word = response.header("taskqueue-control") if response is not None else None
    return "the target, by Taskqueue-Control: abort" if word else "the target, by its answer"


def _too_late(task: Task, last: Attempt) -> str:
    """With the wait that the target asked for, where that was too long."""
    named = retry.named_wait(last.outcome, last.finished_at)
    if named is None or last.finished_at + named * (1 + retry.RETRY_AFTER_JITTER) < task.expires_at:
        return "it would have expired first"
    return f"it would have expired first, for the target {named_wait.wish(last)}"


def _exhaustion(task: Task, calls: Sequence[Attempt], terms: Terms, limits: Limits) -> str:
    """Which of the limits it was: all calls are counted once more."""
    progress = Progress()
    for attempt in calls:
        progress = terms_of(task, attempt).counted(progress, now=attempt.finished_at, fingerprint=attempt.fingerprint)
    rule = terms.rule
    if terms.reason_to_die(task, progress, limits) is None:
        if rule is None or rule.within is None:  # some of its attempts are no longer kept
            return _COMMON[DeadReason.EXHAUSTED]
        return f"the `within` of its {rule_in_words(task, terms)}, {in_words(rule.within)}, would have run out first"
    if task.spec.kind is Kind.WEBHOOK:
        return "the schedule of webhooks has come to its end"
    if terms.own_budget:
        return f"its {rule_in_words(task, terms)} allows {_retries(terms.retries)}"
    name, most = terms.outcome.cls.name, terms.class_retries
    if most is not None and progress.memory.failures[name] > most:
        return f"{name} is retried {times(most)} at most"
    if not terms.retries:
        return "it allows no retry (retries is 0)"
    return "its one retry is used up" if terms.retries == 1 else f"its {terms.retries} retries are used up"


def _retries(count: int) -> str:
    return f"{count or 'no'} {'retry' if count == 1 else 'retries'}"
