"""Claim: the rows as tasks under a lease, against the same statements with their rows dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.databases import Place
from bench.plain import Plain
from bench.report import Row
from bench.rounds import Sample, compare, repeated
from bench.sizes import Sizes
from bench.work import LEASE, fill
from taskqueue.store import leases
from taskqueue.store.database import Database


def measure(place: Place, sizes: Sizes) -> Iterator[Row]:
    with place.open() as database, place.plain() as plain:
        for size, calls in sizes.claims.items():
            case = Claims(database, plain, size, calls)
            yield from compare(
                part="claim",
                database=place.name,
                case=f"batches of {size}",
                ours=case.ours,
                bare={"the same statements": case.bare},
                sizes=sizes,
                prepare=case.prepare,
            )


@dataclass(frozen=True, slots=True)
class Claims:
    """``calls`` claims of ``size`` tasks each, every one of which must come back full."""

    database: Database
    plain: Plain
    size: int
    calls: int

    def prepare(self) -> None:
        """Enough tasks for both sides, and one batch that stays behind."""
        self.plain.empty()
        fill(self.database, self.size * (2 * self.calls + 1))
        self.plain.tidy()

    def ours(self) -> Sample:
        return self._claimed(
            lambda: len(leases.claim(self.database, worker="bench-1", limit=self.size, lease=LEASE).tasks)
        )

    def bare(self) -> Sample:
        return self._claimed(lambda: self.plain.claim(self.size))

    def _claimed(self, claim: Callable[[], int]) -> Sample:
        def claim_whole(size: int) -> None:
            assert claim() == size, "the claims of the bench come back full"

        return repeated(claim_whole, [self.size] * self.calls, weight=self.size)
