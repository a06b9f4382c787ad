"""Whose turn it is: how the tasks of one claim are spread over strands, projects and priorities, within every limit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# A step of priority is worth this much waiting: priority 0 overtakes a fresh 9 after 45 s, so that nothing starves.
AGEING = timedelta(seconds=5)
# A strand that was idle comes before those that are served all the time, but not before who has waited longer.
HEAD_START = timedelta(seconds=1)
# How often a strand that ran into a limit is looked at, should nobody tell that the limit has eased.
LOOK_AGAIN = timedelta(milliseconds=250)
_LEAST = 8  # tasks worth a visit to a strand, if it has as many
_SPARE = 1.25  # some strands hold less than their part


@dataclass(slots=True)
class Bound:
    """How many more tasks one limit lets start, and what becomes of a strand that it stops."""

    left: int
    again: datetime | None  # when to look again; None: once somebody wakes the strand
    name: str | None = None  # by which whoever frees a slot finds the strands it stopped; None: nobody will
    own: bool = False  # of this worker alone: for others the strand stays where it is


@dataclass(slots=True)
class Place:
    """A strand that is due, during one claim."""

    strand: int
    project: str
    queue: str
    flow_key: str
    origin: str
    priority: int
    look_at: datetime
    bounds: list[Bound] = field(default_factory=list)

    @property
    def turn(self) -> datetime:
        return self.look_at - self.priority * AGEING

    @property
    def stopped_by(self) -> Bound | None:
        """The exhausted limit that lasts longest; ``None`` while more may start."""
        spent = [bound for bound in self.bounds if bound.left <= 0]
        return max(spent, key=_lasting, default=None)


@dataclass(frozen=True, slots=True)
class Offer:
    """Up to ``quota`` tasks of a strand may be leased."""

    place: Place
    quota: int


@dataclass(frozen=True, slots=True)
class Look:
    """When the claim looks at a strand again. ``drained``: not before its next task is due; never if it has none."""

    place: Place
    at: datetime | None
    drained: bool
    blocked_on: str | None


class Rota:
    """One claim's way through the strands that are due."""

    def __init__(self, now: datetime, *, after: str = "") -> None:
        self._now = now
        self._after = after  # the project that had the last turn of the former claim
        self.reached = after  # the project of the last task that was leased
        self._ahead: list[Place] = []
        self._more: list[Place] = []  # had more tasks than they were asked for
        self._looks: dict[tuple[str, int], Look] = {}
        self.at_share = False  # this worker's own share of a flow key kept it from taking more

    def join(self, places: Iterable[Place]) -> None:
        """Strands that have not been here yet, each in its turn."""
        known = self._looks
        fresh = (place for place in places if (place.project, place.strand) not in known)
        self._ahead += _interleaved(fresh, after=self._after)

    def offers(self, want: int) -> list[Offer]:
        """Whom to ask next for ``want`` tasks in all; together they may offer more. Empty when all were asked."""
        asked = self._startable(self._ahead) or self._startable(self._more)
        part = max(_LEAST, round(_SPARE * want / max(1, len(asked))))
        offers: list[Offer] = []
        later: list[Place] = []
        promised = 0
        for place in asked:
            quota = min([part, want, *(bound.left for bound in place.bounds)])
            if quota <= 0 or promised >= want * _SPARE:
                later.append(place)  # what is promised to others now may be left over
                continue
            for bound in place.bounds:
                bound.left -= quota
            offers.append(Offer(place, quota))
            promised += quota
        self._ahead = later
        return offers

    def note(self, offers: Sequence[Offer], got: Mapping[tuple[str, int], int], *, full: bool) -> None:
        """What the offers came to. ``full``: as many were leased as were wanted, so that the last of ``offers`` may
        hold more than they gave."""
        counts = [got.get((offer.place.project, offer.place.strand), 0) for offer in offers]
        given = [number for number, count in enumerate(counts) if count]
        self.reached = offers[given[-1]].place.project if given else self.reached
        last = given[-1] if full else len(offers)
        for offer, count in zip(offers, counts, strict=True):
            for bound in offer.place.bounds:
                bound.left += offer.quota - count
        for number, (offer, count) in enumerate(zip(offers, counts, strict=True)):
            if number > last:
                self._ahead.append(offer.place)  # its turn is still to come
            elif count < offer.quota and number < last:
                self._put_off(offer.place, drained=True)
            else:
                self._look(offer.place, self._now, drained=False)
                self._more.append(offer.place)

    def looks(self) -> list[Look]:
        """Of every strand that was asked or put off. Who was not reached keeps its turn."""
        return list(self._looks.values())

    def _startable(self, places: list[Place]) -> list[Place]:
        """Empties ``places``; those that a limit stops are put off."""
        stopped = [place for place in places if place.stopped_by is not None]
        for place in stopped:
            self._put_off(place, drained=False)
        startable = [place for place in places if place.stopped_by is None]
        places.clear()
        return startable

    def _put_off(self, place: Place, *, drained: bool) -> None:
        bound = place.stopped_by
        self.at_share |= bound is not None and bound.own
        self._look(
            place, bound.again if bound else self._now, drained=drained, blocked_on=bound.name if bound else None
        )

    def _look(self, place: Place, at: datetime | None, *, drained: bool, blocked_on: str | None = None) -> None:
        self._looks[place.project, place.strand] = Look(place, at, drained, blocked_on)


def _lasting(bound: Bound) -> tuple[bool, float]:
    return (bound.again is None, bound.again.timestamp() if bound.again else 0.0)


def _interleaved(places: Iterable[Place], *, after: str) -> Iterator[Place]:
    """One of each project in turn, beginning behind the one ``after``; those of a project by their own turn."""
    of_project: defaultdict[str, list[Place]] = defaultdict(list)
    for place in places:
        of_project[place.project].append(place)
    # By name and from where the former claim came to, so that claims of a few tasks reach every project, too.
    projects = sorted(of_project, key=lambda project: (project <= after, project))
    lines = [sorted(of_project[project], key=lambda place: place.turn) for project in projects]
    for number in range(max(map(len, lines), default=0)):
        for line in lines:
            if number < len(line):
                yield line[number]
