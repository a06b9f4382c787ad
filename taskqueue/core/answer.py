"""How a target's answer is read into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from taskqueue.core import lambda_answer
from taskqueue.core.lambda_answer import Fault
from taskqueue.core.outcome import CLASSES, Outcome, OutcomeClass, Phase, Response, Timings

ABORT_STATUS = 489  # "do not retry", as QStash spells it
CONTROL = "taskqueue-control"
_ABORT, _RETRY = "abort", "retry"

_BY_STATUS: Mapping[int, str] = {
    **dict.fromkeys((401, 402, 403, 407), "unauthorized"),
    404: "not_found",
    408: "request_timeout",
    **dict.fromkeys((409, 423, 424), "conflict"),
    410: "gone",
    413: "too_large",
    425: "too_early",
    429: "throttled",
    ABORT_STATUS: "aborted",
    501: "bad_request",
    **dict.fromkeys((502, *range(520, 528), 530), "bad_gateway"),
    **dict.fromkeys((503, 529), "unavailable"),
    **dict.fromkeys((504, 598, 599), "gateway_timeout"),
}


def class_of_status(status: int) -> OutcomeClass:
    """The class of a whole answer by its status alone."""
    if name := _BY_STATUS.get(status):
        return CLASSES[name]
    if 200 <= status <= 299:
        return CLASSES["success"]
    if 300 <= status <= 399:
        return CLASSES["redirect"]
    if 400 <= status <= 499:
        return CLASSES["bad_request"]
    if 500 <= status <= 599:
        return CLASSES["server_error"]
    return CLASSES["protocol_error"]


def read_answer(
    response: Response,
    *,
    complete: bool,
    timings: Timings,
    bytes_sent: int,
    bytes_received: int,
    invoked: bool = False,
) -> Outcome:
    """The outcome of an answer. ``complete`` is False when the peer cut a body short, not when our cap did.

    ``invoked``: it is the Invoke API of Lambda that answers, and not whoever the target is.
    """
    cls = class_of_status(response.status)
    error = _error(response, cls, complete=complete, invoked=invoked)
    outcome = Outcome(
        cls=CLASSES[error.cls] if error else cls,
        phase=Phase.BODY,
        response=response,
        error_type=error.type if error else None,
        error_message=error.message if error else None,
        stack=error.stack if error else (),
        timings=timings,
        bytes_sent=bytes_sent,
        bytes_received=bytes_received,
    )
    return outcome if error is None else steered(outcome)


def steered(outcome: Outcome) -> Outcome:
    """A failure as the target's own word changes it: to abort, or to try again what is not worth it otherwise."""
    response = outcome.response
    if response is None:
        return outcome
    word = control(response)
    if word == _ABORT:
        return replace(outcome, cls=replace(CLASSES["aborted"], partial=outcome.cls.partial))
    # A verdict that says fail is final: the caller knows this target, and what its words are worth.
    if word == _RETRY and not outcome.cls.retryable and outcome.cls.name != "verdict_fail":
        return replace(outcome, forced_retry=True)
    return outcome


def control(response: Response) -> str | None:
    """``abort`` or ``retry`` where the target says so, in whichever spelling; to abort wins."""
    word = (response.header(CONTROL) or "").strip().lower()
    never = (response.header("upstash-nonretryable-error") or "").strip().lower() == "true"
    if response.status == ABORT_STATUS or never or word == _ABORT:
        return _ABORT
    return _RETRY if word == _RETRY else None


def _error(response: Response, cls: OutcomeClass, *, complete: bool, invoked: bool) -> Fault | None:
    """What went wrong; ``None`` for a success."""
    if cls.name == "success":
        if (said := response.header("x-amz-function-error")) is not None:
            # Lambda answers 200 for a function that crashed; the header is the only truth.
            return lambda_answer.function_fault(response, said)
        if complete:
            return None
        return Fault(
            "truncated_response",
            "BodyCut",
            "the target began to answer, then closed the connection before the body was whole",
        )
    return (
        lambda_answer.refusal(response, cls.name, invoked=invoked)
        or lambda_answer.reported(response, cls.name)
        or Fault(cls.name, "HTTPStatus", f"the target answered {response.status}")
    )
