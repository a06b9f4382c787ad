"""What a retry policy would do, over HTTP; nothing is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, UnsetType

from taskqueue.core import forecast, policy
from taskqueue.core.forecast import Simulation
from taskqueue.core.outcome import CLASSES
from taskqueue.core.plan import FALLBACK, plan, supposed_outcome, unsubmitted, worst_case
from taskqueue.core.policy import Policy
from taskqueue.core.reconcile import Answer as Said
from taskqueue.core.task import DEFAULT_EXPIRY, DEFAULT_RETRIES, DEFAULT_TIMEOUT, TaskSpec
from taskqueue.core.terms import Limits
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.fields import about, one_of, span
from taskqueue.web.kinds import ExpiresIn, Retries, Timeout
from taskqueue.web.operations import Answer, operation
from taskqueue.web.policies import (
    Backoff,
    OnLost,
    PoisonAfter,
    Reconcile,
    RetryPolicy,
    backoff_of,
    preset_of,
    reconcile_of,
    rules_of,
)
from taskqueue.web.problems import Faults
from taskqueue.web.reading import Model, either, read
from taskqueue.web.service import Service

_START = datetime(2000, 1, 1, tzinfo=UTC)  # any instant would do: all is told in seconds from it
_SUPPOSABLE = [name for name in CLASSES if name != "cancelled"]
_PATIENT = [name for name, row in CLASSES.items() if row.honours_retry_after]
_DAY = 86_400
_Outcome = Annotated[str, one_of(_SUPPOSABLE, "How an attempt ends")]


class Simulate(Model):
    """What to try out: fields of a submit, and how the attempts are supposed to end."""

    ALIASES: ClassVar[dict[str, str]] = {"maxRetries": "retries"}

    retry_policy: RetryPolicy | UnsetType = UNSET
    retries: Retries = DEFAULT_RETRIES
    timeout: Timeout | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    expires_in: ExpiresIn | UnsetType = UNSET
    on_lost: OnLost = "retry"
    poison_after: PoisonAfter | UnsetType = UNSET
    reconcile: Reconcile | UnsetType = UNSET
    answer: (
        Annotated[
            Literal["done", "not-done", "unknown", "down"],
            about("What the reconcile URL says each time it is asked; `down`: nothing that can be used"),
        ]
        | UnsetType
    ) = UNSET
    outcome: Annotated[
        _Outcome | Annotated[list[_Outcome], about("One after the other", min_length=1, max_length=100)],
        about("The outcome class of every attempt; of several, the last one goes on"),
    ] = FALLBACK
    retry_after: Annotated[timedelta, span(0, _DAY, "The wait that the target asks for each time")] | UnsetType = UNSET
    error_type: (
        Annotated[
            str, about("The type of their error, for rules that match `errorType:`", min_length=1, max_length=200)
        ]
        | UnsetType
    ) = UNSET


class SimulateAnswer(Simulation):
    """Every attempt, in seconds from the first, and when it would be given up."""

    worstCaseSeconds: float  # with the longest waits, and attempts that take all their time
    detail: str


@operation(
    "POST",
    "/v1/retry-policies/simulate",
    summary="Try out a retry policy",
    tag="tasks",
    scope=Scope.READ,
    body=Simulate,
    answers={200: Answer("What it would do", SimulateAnswer)},
    example={"retryPolicy": "lambda-async", "outcome": "function_error"},
)
def simulate_policy(service: Service, call: Call) -> Reply:
    """Nothing is stored and nobody is called. Times are seconds from the first attempt, as if every attempt ended as
    soon as it begins; the worst case counts their timeouts too. After 500 attempts it is cut: `complete` is false."""
    return Reply(200, simulate(call.text or b"{}", limits=Limits(lost_limit=service.settings.lost_limit)))


OPERATIONS = (simulate_policy,)


def simulate(text: bytes, *, limits: Limits) -> SimulateAnswer:
    """What the policy in ``text``, a JSON object, would do. Raises a 422 that lists all that is wrong."""
    faults = Faults()
    asked = read(text, Simulate, faults)
    spec = _spec(asked, faults) if asked is not None else None
    faults.raise_any()
    assert asked is not None and spec is not None, "what cannot be read leaves a fault"
    task = unsubmitted(spec, expires_in=either(asked.expires_in, DEFAULT_EXPIRY), now=_START)
    retry_after = either(asked.retry_after, None)
    error_type = either(asked.error_type, "Supposed")
    outcomes = [supposed_outcome(name, retry_after=retry_after, error_type=error_type) for name in _names(asked)]
    answer = _answer(asked)
    made = plan(task, outcomes, now=_START, limits=limits, slow=False, answer=answer)
    longest = worst_case(task, outcomes, now=_START, limits=limits, answer=answer)
    return {
        **forecast.in_seconds(made, _START),
        "worstCaseSeconds": round(longest / timedelta(seconds=1), 3),
        "detail": forecast.in_words(made),
    }


def _spec(asked: Simulate, faults: Faults) -> TaskSpec:
    if asked.given("retryAfter") and not set(_names(asked)) & set(_PATIENT):
        faults.add(asked.at("retryAfter"), f"only these outcomes hear of a wait: {', '.join(_PATIENT)}; leave it out")
    if asked.given("answer") and not asked.given("reconcile"):
        faults.add(asked.at("answer"), "nobody is asked who could answer; give reconcile, or leave it out")
    return TaskSpec(
        target_url="https://target.invalid/",
        origin="https://target.invalid:443",
        target_host="target.invalid",
        retries=asked.retries,
        timeout=either(asked.timeout, DEFAULT_TIMEOUT),
        backoff=backoff_of(asked.backoff, faults) if asked.backoff is not UNSET else None,
        policy=Policy(
            preset=preset_of(asked.retry_policy),
            rules=rules_of(asked.retry_policy, faults),
            reconcile=reconcile_of(asked.reconcile, asked.reconcile.url) if asked.reconcile is not UNSET else None,
            on_lost=policy.OnLost(asked.on_lost),
            poison_after=either(asked.poison_after, None),
        ),
    )


def _answer(asked: Simulate) -> Said | None:
    answer = either(asked.answer, "not-done")
    return None if answer == "down" else Said(answer)


def _names(asked: Simulate) -> list[str]:
    return [asked.outcome] if isinstance(asked.outcome, str) else asked.outcome
