"""Why an attempt got no answer: operating system, TLS and peer failures as outcome classes, in words fit to store."""

from __future__ import annotations

import errno
import os
import ssl

from taskqueue.core.outcome import Phase
from taskqueue.core.text import clean

MAX_TEXT = 500
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})
_LATE_CLASS = {Phase.NONE: "connect_timeout", Phase.DNS: "dns_failure", Phase.CONNECT: "connect_timeout"}
_LATE = {
    Phase.NONE: "before the attempt began",
    Phase.DNS: "while the name was looked up",
    Phase.CONNECT: "before the connection stood",
    Phase.TLS: "during the TLS handshake",
    Phase.SENDING: "while the request was being sent",
    Phase.SENT: "while the target had not begun to answer",
    Phase.HEADERS: "before the head of the answer was whole",
    Phase.BODY: "before the body of the answer was whole",
}


class AttemptFailed(Exception):
    """The attempt is over without an answer; ``cls`` names its outcome class."""

    def __init__(self, cls: str, error_type: str, message: str) -> None:
        super().__init__(message)
        self.cls, self.error_type, self.message = cls, error_type, clean(message, MAX_TEXT)


def not_connected(error: OSError) -> AttemptFailed:
    """Why no connection came about. The address stays out of it: callers could map our network with it."""
    reason = os.strerror(error.errno) if error.errno is not None else type(error).__name__
    if error.errno in _LOCAL:
        return AttemptFailed("local_resource", _name(error), f"this machine could not open a connection: {reason}")
    if error.errno == errno.ECONNREFUSED:
        return AttemptFailed("connect_refused", _name(error), "the target refused the connection")
    if isinstance(error, TimeoutError):
        return AttemptFailed("connect_timeout", _name(error), "the target did not answer the attempt to connect")
    return AttemptFailed("connect_unreachable", _name(error), f"the target could not be reached: {reason}")


def not_secured(error: Exception) -> AttemptFailed:
    """Why no TLS session came about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AttemptFailed(
            "tls_certificate", "SSLCertVerificationError", f"the certificate was refused: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or "broken off"
        return AttemptFailed("tls_handshake", _name(error), f"the TLS handshake failed: {reason}")
    return AttemptFailed("tls_handshake", _name(error), "the target closed the connection during the TLS handshake")


def too_late(phase: Phase, seconds: float) -> AttemptFailed:
    """The deadline passed, ``seconds`` after the attempt began, in ``phase``."""
    cls = "tls_timeout" if phase is Phase.TLS else _LATE_CLASS.get(phase, "timeout")
    return AttemptFailed(cls, "DeadlinePassed", f"{seconds:g} s passed {_LATE[phase]}")


def closed_by_peer(phase: Phase, error: Exception | None) -> AttemptFailed:
    """The connection went away before the head of an answer was whole."""
    how, kind = ("closed", "ConnectionClosed") if error is None else ("reset", _name(error))
    if phase <= Phase.SENDING:
        return AttemptFailed("send_aborted", kind, f"the target {how} the connection before the request was sent")
    if phase is Phase.SENT:
        return AttemptFailed("no_response", kind, f"the target {how} the connection without an answer")
    return AttemptFailed("no_response", kind, f"the target {how} the connection within the head of its answer")


def surprise(phase: Phase, error: Exception) -> AttemptFailed:
    """A fault of our own. Its text may hold anything, so only its type goes on record."""
    if phase < Phase.SENDING:
        return AttemptFailed("local_resource", _name(error), "an unexpected error kept the request from being sent")
    return AttemptFailed("protocol_error", _name(error), "an unexpected error ended the attempt after sending began")


def _name(error: Exception) -> str:
    return type(error).__name__[:100]
