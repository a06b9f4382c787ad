"""A claim in memory: strands with so many tasks each, asked in turn until the claim has what it wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from taskqueue.core.rota import Bound, Look, Offer, Place, Rota

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def place(strand: int, *bounds: Bound, waited: float = 0.0, project: str = "p", priority: int = 5) -> Place:
    """A strand that has been due for ``waited`` seconds."""
    return Place(
        strand=strand,
        project=project,
        queue="default",
        flow_key=f"flow {strand}",
        origin="https://target.example:443",
        priority=priority,
        turn_at=NOW - timedelta(seconds=waited),
        bounds=list(bounds),
    )


@dataclass(slots=True)
class Claim:
    """What one claim came to."""

    rota: Rota
    got: list[int] = field(default_factory=list)  # the strand of each task, in the order of the leases
    offers: list[Offer] = field(default_factory=list)

    @property
    def looks(self) -> dict[int, Look]:
        return {look.place.strand: look for look in self.rota.looks()}


def claim(waiting: Mapping[int, int], want: int, *rounds: Iterable[Place], **of_rota: Any) -> Claim:
    """Ask the strands of each round until ``want`` tasks are leased; ``waiting`` says how many each strand has."""
    left = dict(waiting)
    claim = Claim(Rota(NOW, **of_rota))
    for places in rounds:
        claim.rota.join(places)
        while (missing := want - len(claim.got)) and (offers := claim.rota.offers(missing)):
            given: dict[tuple[str, int], int] = {}
            free = missing
            for offer in offers:
                count = min(offer.quota, left.get(offer.place.strand, 0), free)
                free -= count
                left[offer.place.strand] = left.get(offer.place.strand, 0) - count
                given[offer.place.project, offer.place.strand] = count
                claim.got += [offer.place.strand] * count
            claim.offers += offers
            claim.rota.note(offers, given, full=not free)
    return claim
