"""The table of outcome classes in words: what each class leads to, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from taskqueue.core.outcome import Charge, Compensation, OutcomeClass, Partial, Wait

WORK: Mapping[Partial, str] = {
    Partial.NO: "the work was not begun",
    Partial.POSSIBLE: "some of the work may have been done",
    Partial.LIKELY: "the work was likely done, in part or in full",
}
COMPENSATION: Mapping[Compensation, str] = {
    Compensation.NO: "nothing has to be undone",
    Compensation.DEPENDS: "whether something has to be undone depends on what the target does before it fails",
    Compensation.CHECK: "check whether the work is done before it is done again",
    Compensation.YES: "finish or undo what the attempt may have left half done",
}
ADVICE: Mapping[str, str] = {
    "success": "Nothing.",
    "dns_not_found": "Check the host name of the target; a new name can take minutes to appear.",
    "dns_failure": "Check the resolver that the workers use.",
    "target_forbidden": "Call another address, or have an operator allow this one in TASKQUEUE_ALLOWED_TARGETS.",
    "connect_refused": "Check that the target runs and listens on this port.",
    "connect_unreachable": "Check routes and firewalls between the workers and the target.",
    "connect_timeout": "Check for a firewall that drops packets, or a target that accepts no more connections.",
    "tls_certificate": "Renew or correct the target's certificate, then redrive.",
    "tls_handshake": "Check which TLS versions and ciphers the target accepts.",
    "tls_timeout": "Check whether the target is overloaded.",
    "local_resource": "Look into the worker's log; raise its limit of open files or lower TASKQUEUE_CONCURRENCY.",
    "released": "Nothing: another worker takes the task.",
    "send_aborted": "Check how large a request the target takes; it may have begun to act on the first part.",
    "no_response": "Look into the target's log for this Taskqueue-Attempt-Id: it may have crashed at work.",
    "timeout": "Raise timeout, or answer early and report later; make the target repeat-safe by Idempotency-Key.",
    "truncated_response": "Check whether the work is done, and what cuts the target's answers.",
    "protocol_error": "Check that the URL leads to an HTTP server, and what it answers.",
    "redirect": "Name the final URL as the target: redirects are not followed.",
    "worker_lost": "See why the worker died or stalled; where work must not be done twice, set reconcile.",
    "interrupted": "Give workers more time to stop (TASKQUEUE_GRACE_SECONDS), or tasks a shorter timeout.",
    "cancelled": "Check whether the target did some of the work before it was called off.",
    "bad_request": "Correct what is sent, then redrive with the new payload or headers.",
    "unauthorized": "Renew the credentials, then redrive with the new headers.",
    "not_found": "Correct the URL, then redrive with it.",
    "gone": "Stop calling it: the target says that it is gone for good.",
    "too_large": "Send less, or a reference to where the rest can be fetched.",
    "request_timeout": "Check what slows the request down on its way.",
    "conflict": "An earlier copy may be at work, or done: check before you redrive.",
    "too_early": "Nothing: the target asks for the request once more.",
    "throttled": "Send less or ask for a higher limit; expiresIn bounds how long it is tried.",
    "aborted": "Look at the answer: the target itself said not to try again.",
    "server_error": "Look into the target's log.",
    "bad_gateway": "Check the service behind the proxy that answered.",
    "unavailable": "Wait, or give the target more capacity.",
    "gateway_timeout": "Raise the proxy's limit or answer early: the work may still go on behind it.",
    "verdict_retry": "Look at the answer: a verdict rule of the task asked for a retry.",
    "verdict_fail": "Look at the answer: a verdict rule of the task called it a failure for good.",
    "verdict_defer": "Nothing yet: a verdict rule of the task says that it is too early.",
    "service_error": "Nothing, as a rule; if it lasts, look at the state of AWS in this region.",
    "function_config": "Correct the function's name, its permissions or its package, as errorType says; then redrive.",
    "function_not_ready": "Wait for the deployment; if it lasts, check the function's VPC and file systems.",
    "function_handled_error": "Handle this errorType; where a retry can help, list it in a rule of retryPolicy.",
    "function_error": "Correct the exception that stackTrace shows, then redrive.",
    "function_timeout": "Raise the function's time limit or do less per call; then finish or undo what was left.",
    "function_out_of_memory": "Give the function more memory, finish or undo what was left, then redrive.",
    "function_crashed": "Look into the function's log for why its process ended; finish or undo what was left.",
    "function_init_failed": "Correct the import, the handler's name or the package; no work was begun.",
    "function_bad_result": "Return what JSON can hold, under 6 MB. Do not redrive unchecked: the work is done.",
}
# Types of our own making, whose message says all there is.
_SAID_BY_MESSAGE = frozenset(
    {
        *("HTTPStatus", "BodyCut", "X-Amz-Function-Error", "Verdict", "Reconcile", "Cancelled", "Expired", "Parked"),
        *("LeaseLapsed", "DeadlinePassed", "ConnectionClosed", "NameNotFound", "MalformedAnswer", "InterimOnly"),
        *("SpokeFirst", "ResolverBusy", "SettleFailed", "NotConfigured", "WrongRegion"),
        *("ForbiddenTarget", "InvalidTarget"),
    }
)


def retried(row: OutcomeClass) -> str:
    """Whether, and how often, an outcome of this class is retried when no rule says otherwise."""
    if not row.retryable:
        return "no"
    if row.charge is Charge.LOST:
        return "yes, up to the lost limit"
    if row.charge is Charge.FREE:
        return "yes, free"
    if row.charge is Charge.FREE_WITH_RETRY_AFTER:
        return "yes, free when it names a wait"
    often = "yes" if row.max_retries is None else "once" if row.max_retries == 1 else f"{row.max_retries} times"
    return f"{often}, at a risk" if row.risky else often


def waits(row: OutcomeClass) -> str:
    """How long it is waited before the retry, at the longest; empty for what is not retried."""
    if not row.retryable:
        return ""
    words = {
        Wait.NORMAL: "up to 2 s, doubling up to 15 min",
        Wait.SLOW: "up to 30 s, doubling up to 1 h",
        Wait.NOW: "none",
    }[row.wait]
    return f"{words}, or as asked" if row.honours_retry_after else words


def error_in_words(error_type: str | None, message: str | None) -> str | None:
    """The message of an error, behind its type where that says more."""
    if message is None:
        return error_type
    if error_type is None or error_type in _SAID_BY_MESSAGE or message.startswith(error_type):
        return message
    return f"{error_type}: {message}"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def in_words(span: timedelta) -> str:
    """About how long ``span`` is: ``1m30s``; milliseconds only of what is shorter than a second, else tenths."""
    milliseconds = max(0, round(span / timedelta(milliseconds=1)))
    if 1_000 <= milliseconds < 10_000:
        return f"{round(milliseconds / 1_000, 1):g}s"
    rest = milliseconds if milliseconds < 1_000 else round(milliseconds / 1_000) * 1_000
    words = ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, length)
        words += f"{count}{unit}" if count else ""
    return words or "0s"
