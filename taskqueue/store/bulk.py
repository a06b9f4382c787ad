"""What one step of bulk work is asked to do, and what it comes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """At most ``limit`` rows of ``project`` behind the ``cursor``, and of those at least one, until time is up."""

    project: str
    operation_id: UUID  # minted when the work began
    cursor: UUID | None  # the last row that was looked at
    limit: int
    until: float  # on the monotonic clock

    def each(self, items: Sequence[T], act: Callable[[T], bool | None]) -> list[bool | None]:
        """Act on one after the other; the results of those that there was time for."""
        results: list[bool | None] = []
        for item in items:
            results.append(act(item))
            if time.monotonic() > self.until:
                break
        return results


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to, and the last row that it looked at; ``None`` when it has seen all."""

    done: int
    failed: int
    last: UUID | None
