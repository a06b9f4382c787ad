"""Handlers that fail for real: Amazon's own runtime client runs them, in a process of their own."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

_MOST_BYTES = 2**30  # whoever forgets to kill this process does not lose the machine
_STEP_BYTES = 2**23


class CardDeclined(Exception):
    """An error of the function's own."""


def returns(event: Any, context: Any) -> Any:
    """Gives back what it was given, and what it was told about the task."""
    told = context.client_context.custom if context.client_context else None
    return {"event": event, "told": told, "requestId": context.aws_request_id}


def raises(event: Any, context: Any) -> None:
    raise CardDeclined("the card was declined")


def returns_an_error(event: Any, context: Any) -> Any:
    """Lambda calls this a success; only a verdict rule can tell."""
    return {"status": "error", "errorType": "CardDeclined", "errorMessage": "the card was declined"}


def times_out(event: Any, context: Any) -> None:
    time.sleep(3600)


def runs_out_of_memory(event: Any, context: Any) -> None:
    kept: list[bytes] = []
    while len(kept) * _STEP_BYTES < _MOST_BYTES:
        kept.append(b"x" * _STEP_BYTES)
        time.sleep(0.005)
    time.sleep(3600)


def exits(event: Any, context: Any) -> None:
    os._exit(3)


def crashes(event: Any, context: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def returns_no_json(event: Any, context: Any) -> Any:
    return {"a", "set"}


def returns_too_much(event: Any, context: Any) -> Any:
    return "x" * 7_000_000
