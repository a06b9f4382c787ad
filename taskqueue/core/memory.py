"""What later decisions need to know of earlier attempts; a small blob in the hot row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from taskqueue.core.outcome import Partial
from taskqueue.core.reason import DeadReason

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Ruled:
    """How often one rule of the policy has matched, and when it first did."""

    count: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Streak:
    """How many charged failures in a row had this fingerprint."""

    fingerprint: str
    length: int


@dataclass(frozen=True, slots=True)
class Asking:
    """The next attempt asks the reconcile URL whether the work was done. If it was not, then this follows."""

    then: DeadReason | None = None  # None: the retry that was decided already
    failures: int = 0  # to get an answer, so far
    # Of the call that is asked about: a death tells of it, and not of the asking.
    status: int | None = None
    error_type: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one generation of a task."""

    failures: Mapping[str, int] = field(default_factory=dict)  # by class, those that no rule of the policy decided
    deferrals: int = 0  # in a row
    worst_partial: Partial = Partial.NO
    previous: str | None = None  # class of the attempt before
    ruled: Mapping[int, Ruled] = field(default_factory=dict)  # by the rule's index
    apart: int = 0  # charged outcomes that a rule counted for itself, and not against the task's retries
    lost_apart: int = 0  # lost workers likewise, and not against the lost limit
    streak: Streak | None = None
    asking: Asking | None = None

    def asks(self, asking: Asking | None) -> Memory:
        """The same past, with another question to ask next."""
        return replace(self, asking=asking)

    def encode(self) -> bytes | None:
        """As stored; ``None`` for a task that has no past."""
        if self == NO_MEMORY:
            return None
        past: dict[str, Any] = {
            "f": dict(self.failures),
            "d": self.deferrals,
            "w": int(self.worst_partial),
            "p": self.previous,
        }
        if self.ruled:
            past["r"] = [[index, ruled.count, ruled.since.timestamp()] for index, ruled in self.ruled.items()]
        if self.apart:
            past["o"] = self.apart
        if self.lost_apart:
            past["l"] = self.lost_apart
        if self.streak is not None:
            past["s"] = [self.streak.fingerprint, self.streak.length]
        if self.asking is not None:
            asking = self.asking
            past["a"] = [asking.then, asking.failures, asking.status, asking.error_type, asking.fingerprint]
        return _encode(past).encode()

    @classmethod
    def decode(cls, blob: bytes | None) -> Memory:
        if blob is None:
            return NO_MEMORY
        past = json.loads(blob)
        return cls(
            failures=past["f"],
            deferrals=past["d"],
            worst_partial=Partial(past["w"]),
            previous=past["p"],
            ruled={index: Ruled(count, datetime.fromtimestamp(at, UTC)) for index, count, at in past.get("r", ())},
            apart=past.get("o", 0),
            lost_apart=past.get("l", 0),
            streak=Streak(*past["s"]) if "s" in past else None,
            asking=_asking(*past["a"]) if "a" in past else None,
        )


def _asking(then: str | None, *rest: Any) -> Asking:
    return Asking(DeadReason(then) if then is not None else None, *rest)


NO_MEMORY = Memory()
