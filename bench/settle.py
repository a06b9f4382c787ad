"""Settle: what was decided, written, against the bare statements that leave the same rows behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.databases import Place
from bench.plain import Plain, ends
from bench.report import Row
from bench.rounds import Sample, compare, repeated
from bench.sizes import Sizes
from bench.work import fill, lease_all, settlements
from taskqueue.core.settlement import Settlement
from taskqueue.store.database import Database
from taskqueue.store.settlements import settle

STATUSES = {"success": 200, "retry": 503}


def measure(place: Place, sizes: Sizes) -> Iterator[Row]:
    with place.open() as database, place.plain() as plain:
        for name, status in STATUSES.items():
            for size, calls in sizes.settles.items():
                case = _Settles(database, plain, status, size, calls)
                yield from compare(
                    part="settle",
                    database=place.name,
                    case=f"{name}, {size} at once",
                    ours=case.ours,
                    bare={"the bare statements": case.bare},
                    sizes=sizes,
                    prepare=case.prepare,
                )


@dataclass(frozen=True, slots=True)
class _Settles:
    """``calls`` transactions of ``size`` settlements each, of tasks that were answered ``status``."""

    database: Database
    plain: Plain
    status: int
    size: int
    calls: int
    decided: list[list[Settlement]] = field(default_factory=list)

    def prepare(self) -> None:
        """Lease and decide what both sides will settle."""
        self.plain.empty()
        fill(self.database, 2 * self.calls * self.size)
        now = datetime.now(UTC)
        running = [lease_all(self.database, self.size) for _ in range(2 * self.calls)]
        self.decided[:] = [settlements(tasks, status=self.status, now=now) for tasks in running]
        self.plain.tidy()

    def ours(self) -> Sample:
        return repeated(self._settle, self._half(), weight=self.size)

    def bare(self) -> Sample:
        now = datetime.now(UTC)
        ready_made = [ends(self.plain, batch, now=now) for batch in self._half()]
        write = self.plain.retry if self.decided_to_wait else self.plain.succeed
        return repeated(write, ready_made, weight=self.size)

    @property
    def decided_to_wait(self) -> bool:
        return self.status != STATUSES["success"]

    def _half(self) -> list[list[Settlement]]:
        return [self.decided.pop() for _ in range(self.calls)]

    def _settle(self, batch: Sequence[Settlement]) -> None:
        with self.database.begin() as conn:
            stale = settle(conn, self.database, batch)
        assert not stale, "every lease of the bench holds"
