"""The wait that a target named in its answer, in words: how long it is, and which header says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from taskqueue.core import retry
from taskqueue.core.guidance import in_words
from taskqueue.core.task import Attempt

# In the order in which they count, each with what tells whether it does.
_NAMING: Mapping[str, tuple[str, ...]] = {
    "Retry-After": (),
    "Retry-After-Ms": (),
    "X-RateLimit-Reset": ("x-ratelimit-remaining",),
    "RateLimit-Reset": ("ratelimit-remaining",),
}


def header(attempt: Attempt) -> str | None:
    """The header that counts; ``None`` where none names a wait, or the attempt's class has no use for it."""
    return next((name for name in _NAMING if _names(attempt, name)), None)


def wish(attempt: Attempt) -> str | None:
    """What the target asked for, as what it did: ``asked for 1m by Retry-After``."""
    by, span = header(attempt), retry.named_wait(attempt.outcome, attempt.finished_at)
    return f"asked for {in_words(span)} by {by}" if by is not None and span is not None else None


def _names(attempt: Attempt, name: str) -> bool:
    outcome, kept = attempt.outcome, (name.lower(), *_NAMING[name])
    if outcome.response is None:
        return False
    headers = tuple(pair for pair in outcome.response.headers if pair[0] in kept)
    alone = replace(outcome, response=replace(outcome.response, headers=headers))
    return retry.named_wait(alone, attempt.finished_at) is not None
