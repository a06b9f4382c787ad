"""Retry policies, backoffs and reconciling, as they are asked for and as the core knows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from taskqueue.core import pattern, policy, retry
from taskqueue.core.errors import InvalidTask
from taskqueue.core.policy import FIRM, MAX_RULES, PRESETS, OnUnknown
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import BackoffType, Jitter
from taskqueue.web.fields import about, checked, one_of, span
from taskqueue.web.kinds import DAY, Url
from taskqueue.web.problems import Faults
from taskqueue.web.reading import Model, either

_RECONCILE_TIMEOUT = timedelta(seconds=10)


_ABORTS = frozenset({"status:489", "status:489-489"})


def _either(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))


def _check_pattern(text: str, pointer: str) -> None:
    pattern.check(text, pointer)
    picked = pattern.classes(text)
    if picked and picked <= FIRM:
        raise InvalidTask(pointer, f"{_either(picked)} is never retried, whatever a rule says; leave it out")
    if text in _ABORTS:
        raise InvalidTask(pointer, "489 says not to try again, whatever a rule says; leave it out")


def _check_death_pattern(text: str, pointer: str) -> None:
    pattern.check(text, pointer, reasons=tuple(DeadReason))


_PATTERNS = (
    "An outcome class or a glob over classes, `status:409`, `status:500-599`, `status:5xx`, `errorType:Payment*`,"
    " `partial:no`, `partial:possible` or `partial:likely`"
)
_Pattern = Annotated[str, checked(_check_pattern, _PATTERNS)]
DeathPattern = Annotated[
    str, checked(_check_death_pattern, f"{_PATTERNS}; also why the task died, as `reason:exhausted`")
]


class Backoff(Model):
    """How long to wait between attempts. What is left out is as for the outcome class that failed."""

    type: Annotated[
        Literal["exponential", "linear", "fixed", "schedule"],
        about("`linear` adds `initial` each time; `schedule` takes its waits one by one and repeats the last"),
    ] = "exponential"
    initial: Annotated[timedelta, span(0, 30 * DAY, "The first wait")] | UnsetType = UNSET
    factor: Annotated[float, about("What `exponential` multiplies the wait with", ge=1, le=100)] | UnsetType = UNSET
    max: Annotated[timedelta, span(0, 30 * DAY, "The longest wait")] | UnsetType = UNSET
    jitter: Annotated[Literal["full", "equal", "none"], about("How much of each wait is left to chance")] = "full"
    schedule: (
        Annotated[
            list[Annotated[timedelta, span(0, 30 * DAY, "One wait")]],
            about("The waits of type `schedule`", min_length=1, max_length=100),
        ]
        | UnsetType
    ) = UNSET


class RetryRule(Model):
    """What to do about some outcomes. With `retries`, what it matches has a budget of its own."""

    match: Annotated[list[_Pattern], about("Any of these picks an outcome", min_length=1, max_length=20)]
    retries: (
        Annotated[
            int,
            about(
                "Retries after outcomes that this rule matched; without it, the task's `retries` count", ge=0, le=100
            ),
        ]
        | UnsetType
    ) = UNSET
    within: (
        Annotated[timedelta, span(0.1, 366 * DAY, "No retry later than this after the rule first matched")] | UnsetType
    ) = UNSET
    backoff: Annotated[Backoff, about("The waits after outcomes that this rule matched")] | UnsetType = UNSET
    charge: Annotated[bool, about("`false`: a deferral, which uses up no retry of the task")] = True


RetryPolicy = Annotated[
    Annotated[str, one_of(PRESETS, "A preset", hint="; or an array of rules")]
    | Annotated[list[RetryRule], about("Rules", min_length=1, max_length=MAX_RULES)],
    about("The name of a preset, or rules of which the first that matches an outcome decides"),
]


OnLost = Annotated[Literal["retry", "dead"], about("What becomes of it when its worker vanishes")]
PoisonAfter = Annotated[int, about("Give up after so many failures in a row that were identical", ge=2, le=100)]


class Reconcile(Model):
    """Whom to ask, after an attempt that may have done work, whether it did."""

    url: Annotated[Url, about('Answers `{"state": "done"}`, `"not-done"` or `"unknown"`')]
    timeout: (
        Annotated[timedelta, span(0.1, 120, "Longest one answer may take", default=_RECONCILE_TIMEOUT)] | UnsetType
    ) = UNSET
    on_unknown: Annotated[
        Literal["retry", "hold", "fail"],
        about("What to do when nobody knows; `hold` leaves a dead letter for a person to look at"),
    ] = "retry"


def backoff_of(asked: Backoff, faults: Faults) -> retry.Backoff:
    """The backoff as the core knows it. Waits that were named are never cut by a default."""
    kind = BackoffType(asked.type)
    waits = tuple(either(asked.schedule, ()))
    if kind is BackoffType.SCHEDULE and not asked.given("schedule"):
        faults.add(asked.at("schedule"), 'type "schedule" needs a schedule: a list of waits such as ["10s", "1m"]')
    if kind is not BackoffType.SCHEDULE and asked.given("schedule"):
        faults.add(asked.at("schedule"), 'a schedule goes with type "schedule" alone; name that type or leave it out')
    if asked.factor is not UNSET and kind is not BackoffType.EXPONENTIAL:
        faults.add(asked.at("factor"), 'a factor goes with type "exponential" alone; leave it out')
    if asked.initial is not UNSET and kind is BackoffType.SCHEDULE:
        faults.add(
            asked.at("initial"), 'with type "schedule" the first wait is the first of the schedule; leave it out'
        )
    if asked.max is not UNSET:
        if asked.initial is not UNSET and asked.initial > asked.max:
            faults.add(
                asked.at("initial"), "the first wait is longer than max, the longest; raise max or lower initial"
            )
        if any(wait > asked.max for wait in waits):
            faults.add(asked.at("schedule"), "a wait is longer than max, the longest; raise max or leave it out")
    normal = retry.NORMAL
    initial = either(asked.initial, normal.initial)
    return retry.Backoff(
        type=kind,
        initial=initial,
        factor=either(asked.factor, normal.factor),
        max=either(asked.max, max(normal.max, initial, *waits)),
        jitter=Jitter(asked.jitter),
        schedule=waits,
    )


def preset_of(asked: str | Sequence[RetryRule] | UnsetType) -> str | None:
    """The name of the preset that was asked for, if it was one."""
    return asked if isinstance(asked, str) else None


def rules_of(asked: str | Sequence[RetryRule] | UnsetType, faults: Faults) -> tuple[policy.Rule, ...]:
    """The rules as the core knows them; none when a preset or nothing was asked for."""
    if isinstance(asked, str | UnsetType):
        return ()
    return tuple(_rule(rule, faults) for rule in asked)


def reconcile_of(asked: Reconcile, url: str) -> policy.Reconcile:
    """Whom to ask, at the checked ``url``."""
    return policy.Reconcile(
        url=url, timeout=either(asked.timeout, _RECONCILE_TIMEOUT), on_unknown=OnUnknown(asked.on_unknown)
    )


def _rule(asked: RetryRule, faults: Faults) -> policy.Rule:
    if asked.retries == 0:
        for name in asked.given("within", "backoff"):
            faults.add(asked.at(name), f"with 0 retries {name} has nothing to say; leave it out, or allow a retry")
    return policy.Rule(
        match=tuple(asked.match),
        retries=either(asked.retries, None),
        within=either(asked.within, None),
        backoff=backoff_of(asked.backoff, faults) if asked.backoff is not UNSET else None,
        charge=asked.charge,
    )
