"""What a caller decided about failures: which to retry, how often, and whom to ask when nobody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from taskqueue.core.outcome import Outcome
from taskqueue.core.pattern import UNMATCHED, Facts, matches
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.verdict import Verdict

MAX_RULES = 20
# No rule makes these worth another attempt: the guard said no, or the target itself, or a verdict of the caller.
FIRM = frozenset({"target_forbidden", "aborted", "verdict_fail"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a retry policy. With ``retries`` of its own, what it matches uses up no other budget."""

    match: tuple[str, ...]
    retries: int | None = None  # after outcomes that matched this rule; None: the task's
    within: timedelta | None = None  # from the first of them to the last attempt it allows
    backoff: Backoff | None = None
    charge: bool = True  # False: a deferral, bounded by `within`, by its own `retries` and by expiry


class OnLost(StrEnum):
    """What becomes of a task whose worker vanished."""

    RETRY = "retry"
    DEAD = "dead"


class OnUnknown(StrEnum):
    """What becomes of a task when nobody could say whether its work was done."""

    RETRY = "retry"
    HOLD = "hold"  # dead with reason `uncertain`, for a person to look at
    FAIL = "fail"  # dead as if it had been refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """Whom to ask whether the work was done."""

    url: str
    timeout: timedelta
    on_unknown: OnUnknown = OnUnknown.RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything a caller said about failures; as made by default it says nothing."""

    preset: str | None = None  # the name the rules were asked for by
    rules: tuple[Rule, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    reconcile: Reconcile | None = None
    on_lost: OnLost = OnLost.RETRY
    poison_after: int | None = None  # identical failures in a row; None: never

    @property
    def all_rules(self) -> Sequence[Rule]:
        """The rules that count: the caller's own, or those of the preset."""
        return PRESETS[self.preset] if self.preset is not None else self.rules

    def rule_for(self, outcome: Outcome) -> int | None:
        """The index of the first rule that matches; ``None`` when the table of classes decides."""
        if not self.all_rules or outcome.cls.name in UNMATCHED or outcome.cls.name in FIRM:
            return None
        facts = Facts.of(outcome)
        return next((index for index, rule in enumerate(self.all_rules) if matches(rule.match, facts)), None)


NO_POLICY = Policy()

# As AWS handles the events of asynchronous invocations: two retries for a function that failed, patience for a service
# that is busy or broken (Lambda developer guide, "Asynchronous invocation").
_LAMBDA_ASYNC = (
    Rule(
        match=("throttled", "service_error"),
        charge=False,
        within=timedelta(hours=6),
        backoff=Backoff(initial=timedelta(seconds=1), max=timedelta(minutes=5), jitter=Jitter.EQUAL),
    ),
    Rule(
        match=(
            *("function_error", "function_handled_error", "function_timeout", "function_out_of_memory"),
            *("function_crashed", "function_init_failed", "function_bad_result"),
            *("server_error", "bad_gateway", "unavailable", "gateway_timeout", "timeout", "no_response"),
        ),
        retries=2,
        backoff=Backoff(
            type=BackoffType.SCHEDULE,
            schedule=(timedelta(minutes=1), timedelta(minutes=2)),
            max=timedelta(minutes=2),
            jitter=Jitter.NONE,
        ),
    ),
)
PRESETS: Mapping[str, tuple[Rule, ...]] = {
    "default": (),
    "any-error": (Rule(match=("*",)),),
    "lambda-async": _LAMBDA_ASYNC,
    "never": (Rule(match=("*", "worker_lost", "interrupted"), retries=0),),
}
