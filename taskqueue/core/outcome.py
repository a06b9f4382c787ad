"""The table of outcome classes, and what is known of an attempt that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, StrEnum

KEPT_BODY = 16 * 1024  # bytes of an answer that go on record


class Partial(IntEnum):
    """How likely it is that the target did some of the work; ordered, so that the worst is ``max``."""

    NO = 0
    POSSIBLE = 1
    LIKELY = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Phase(IntEnum):
    """How far an attempt got; ordered. Work cannot have begun before SENDING."""

    NONE = 0
    DNS = 1
    CONNECT = 2
    TLS = 3
    SENDING = 4
    SENT = 5
    HEADERS = 6
    BODY = 7

    @property
    def label(self) -> str:
        return self.name.lower()


class Charge(Enum):
    """Whether an outcome uses up one of the task's retries."""

    YES = "yes"
    FREE = "free"
    FREE_WITH_RETRY_AFTER = "free when it carries Retry-After"
    LOST = "counts as lost"


class Wait(Enum):
    """Which backoff applies when the task names none of its own."""

    NORMAL = "2 s doubling to 15 min"
    SLOW = "30 s doubling to 1 h"
    NOW = "now"


class Compensation(StrEnum):
    """Whether somebody should look at, or undo, what the attempt may have done."""

    NO = "no"
    DEPENDS = "depends"
    CHECK = "check"
    YES = "yes"


class Sign(Enum):
    """What an outcome says about the host that was called."""

    FAILURE = "the host fails"
    LIFE = "the host answers, whatever it said"
    NOTHING = "nothing: it was not reached, or not for a reason of its own"


@dataclass(frozen=True, slots=True)
class OutcomeClass:
    """One row of the table: what follows from an attempt that ended this way."""

    name: str
    meaning: str
    retryable: bool = True
    max_retries: int | None = None  # retries after outcomes of this class, inside the task's own budget
    charge: Charge = Charge.YES
    partial: Partial = Partial.NO
    compensation: Compensation = Compensation.NO
    wait: Wait = Wait.NORMAL
    honours_retry_after: bool = False
    opens_breaker: bool = False
    risky: bool = False


def _table(*rows: OutcomeClass) -> Mapping[str, OutcomeClass]:
    return {row.name: row for row in rows}


_O = OutcomeClass
CLASSES: Mapping[str, OutcomeClass] = _table(
    _O("success", "2xx without a function error", retryable=False),
    # Never reached the target's code.
    _O("dns_not_found", "the name does not exist", max_retries=3, wait=Wait.SLOW),
    _O("dns_failure", "the resolver timed out or failed", opens_breaker=True),
    _O("target_forbidden", "address, port or spelling refused by the guard", retryable=False),
    _O("connect_refused", "the target refused the connection", opens_breaker=True),
    _O("connect_unreachable", "no route to the target", opens_breaker=True),
    _O("connect_timeout", "the deadline passed before the connection stood", opens_breaker=True),
    _O("tls_certificate", "certificate invalid, expired or for another name", retryable=False),
    _O("tls_handshake", "the TLS handshake failed", max_retries=3, wait=Wait.SLOW),
    _O("tls_timeout", "the deadline passed during the TLS handshake", opens_breaker=True),
    _O("local_resource", "our own files, ports or memory ran out", charge=Charge.FREE),
    _O("released", "the worker drained before sending", charge=Charge.FREE, wait=Wait.NOW),
    # Cut off: the ambiguous ones.
    _O("send_aborted", "reset while sending", partial=Partial.POSSIBLE, opens_breaker=True),
    _O(
        "no_response",
        "reset or closed after the whole request was sent",
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
        opens_breaker=True,
    ),
    _O(
        "timeout",
        "the deadline passed after the request was sent",
        partial=Partial.LIKELY,
        compensation=Compensation.YES,
        opens_breaker=True,
        risky=True,
    ),
    _O(
        "truncated_response",
        "2xx, then the body was cut",
        partial=Partial.LIKELY,
        compensation=Compensation.CHECK,
    ),
    _O(
        "protocol_error",
        "malformed HTTP, 1xx only, or a status outside 200-599",
        max_retries=3,
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
    ),
    _O("redirect", "any 3xx: redirects are not followed", retryable=False, partial=Partial.POSSIBLE),
    _O(
        "worker_lost",
        "the lease lapsed: the worker died or stalled",
        charge=Charge.LOST,
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
        wait=Wait.NOW,
    ),
    _O(
        "interrupted",
        "sent, then cut by a drain past its grace",
        charge=Charge.LOST,
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
        wait=Wait.NOW,
    ),
    _O("cancelled", "the task was cancelled while running", retryable=False, partial=Partial.POSSIBLE),
    # The target answered.
    _O("bad_request", "the request is at fault: fix the caller", retryable=False),
    _O("unauthorized", "401, 402, 403 or 407", retryable=False),
    _O("not_found", "404", retryable=False),
    _O("gone", "410: a webhook stops", retryable=False),
    _O("too_large", "413", retryable=False),
    _O("request_timeout", "408", partial=Partial.POSSIBLE, compensation=Compensation.DEPENDS),
    _O(
        "conflict",
        "409, 423 or 424: likely an earlier copy",
        max_retries=3,
        partial=Partial.LIKELY,
        wait=Wait.SLOW,
        honours_retry_after=True,
    ),
    _O("too_early", "425"),
    _O("throttled", "429", charge=Charge.FREE, honours_retry_after=True),
    _O("aborted", "the target said: do not retry", retryable=False),
    _O(
        "server_error",
        "500, 507, 508 or another 5xx",
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
        opens_breaker=True,
    ),
    _O(
        "bad_gateway",
        "502, 520-527 or 530",
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
        honours_retry_after=True,
        opens_breaker=True,
    ),
    _O(
        "unavailable",
        "503 or 529",
        charge=Charge.FREE_WITH_RETRY_AFTER,
        honours_retry_after=True,
        opens_breaker=True,
    ),
    _O(
        "gateway_timeout",
        "504, 598 or 599: the work may still be running",
        partial=Partial.LIKELY,
        compensation=Compensation.YES,
        wait=Wait.SLOW,
        opens_breaker=True,
        risky=True,
    ),
    # The answer itself said otherwise: a verdict rule of the caller.
    _O(
        "verdict_retry",
        "a verdict rule says: retry",
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
        honours_retry_after=True,
    ),
    _O(
        "verdict_fail",
        "a verdict rule says: it failed for good",
        retryable=False,
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
    ),
    _O("verdict_defer", "a verdict rule says: not now", charge=Charge.FREE, honours_retry_after=True),
    # Lambda refused before any code ran.
    _O("service_error", "the Lambda service failed"),
    _O("function_config", "no such function, no permission, or one that cannot be started as it is", retryable=False),
    _O("function_not_ready", "the function is being made or changed, or waits for its network", wait=Wait.SLOW),
    # Lambda ran the function, and it failed: the status is 200, and only a header says so.
    _O(
        "function_handled_error",
        "the function returned an error of its own",
        retryable=False,
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
    ),
    _O(
        "function_error",
        "an exception left the handler",
        max_retries=3,
        partial=Partial.POSSIBLE,
        compensation=Compensation.DEPENDS,
    ),
    _O(
        "function_timeout",
        "the function ran into its time limit and was stopped half way",
        partial=Partial.LIKELY,
        compensation=Compensation.YES,
        wait=Wait.SLOW,
        risky=True,
    ),
    _O(
        "function_out_of_memory",
        "the function ran out of memory and was killed half way",
        max_retries=1,
        partial=Partial.LIKELY,
        compensation=Compensation.YES,
        wait=Wait.SLOW,
    ),
    _O(
        "function_crashed",
        "the function's process ended before it answered",
        max_retries=2,
        partial=Partial.LIKELY,
        compensation=Compensation.YES,
        wait=Wait.SLOW,
    ),
    _O(
        "function_init_failed",
        "the function could not be loaded: a cold start that failed",
        max_retries=3,
        wait=Wait.SLOW,
    ),
    _O(
        "function_bad_result",
        "the function finished, but its result could not be returned",
        retryable=False,
        partial=Partial.LIKELY,
        compensation=Compensation.CHECK,
    ),
)


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent in each phase of one attempt; ``None`` for a phase it never entered or skipped (kept-alive)."""

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    send: float | None = None
    wait: float | None = None
    read: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What is kept of an answer. Header names are lower case; values and body are as the peer sent them."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""  # on record: the first 16 KiB at most
    truncated: bool = False  # some of it is missing: more came than is kept, or less than was announced

    def header(self, name: str) -> str | None:
        """First value of ``name`` (lower case), or ``None``."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended: its class and every fact worth a place on record."""

    cls: OutcomeClass
    phase: Phase = Phase.NONE
    response: Response | None = None
    error_type: str | None = None
    error_message: str | None = None
    stack: tuple[str, ...] = ()  # what the function said of where it failed, outermost line first
    timings: Timings = field(default_factory=Timings)
    bytes_sent: int = 0
    bytes_received: int = 0
    forced_retry: bool = False  # the target said ``Taskqueue-Control: retry``

    @property
    def partial(self) -> Partial:
        """The class's partial-work mark, lowered by the phase: nothing before sending, at most possible during it.

        A trouble of our own says nothing of the target: once the request was on its way, work is possible.
        """
        if self.response is not None or self.cls.charge is Charge.LOST or self.cls.name == "cancelled":
            return self.cls.partial
        if self.phase < Phase.SENDING:
            return Partial.NO
        if self.cls.name == "local_resource":
            return Partial.POSSIBLE
        if self.phase == Phase.SENDING:
            return min(self.cls.partial, Partial.POSSIBLE)
        return self.cls.partial

    @property
    def sign(self) -> Sign:
        """By class, and by whether an answer came: its status alone says that somebody is there."""
        if self.cls.opens_breaker:
            return Sign.FAILURE
        return Sign.NOTHING if self.response is None else Sign.LIFE

    def trimmed(self) -> Outcome:
        """As it goes on record."""
        if self.response is None or len(self.response.body) <= KEPT_BODY:
            return self
        return replace(self, response=replace(self.response, body=self.response.body[:KEPT_BODY], truncated=True))


def failed(name: str, error_type: str, message: str, *, phase: Phase = Phase.NONE) -> Outcome:
    """The outcome of an attempt that got no answer, by class name."""
    return Outcome(cls=CLASSES[name], phase=phase, error_type=error_type, error_message=message)


def lapsed() -> Outcome:
    """The outcome of an attempt whose lease lapsed. Nobody knows how far it got."""
    return failed(
        "worker_lost", "LeaseLapsed", "the worker stopped extending its lease: it died, stalled or lost the database"
    )
