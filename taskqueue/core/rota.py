"""Whose turn it is: how the tasks of one claim are spread over strands, projects and priorities, within every limit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# A step of priority is worth this much waiting: priority 0 overtakes a fresh 9 after 45 s, so that nothing starves.
AGEING = timedelta(seconds=5)
# A strand that was idle comes before those that are served all the time, but not before who has waited longer. It is
# more than a round of a thousand busy strands takes on a slow machine, and less than a step of priority.
HEAD_START = timedelta(seconds=4)
# How often a strand that ran into a limit is looked at, should nobody tell that the limit has eased.
LOOK_AGAIN = timedelta(milliseconds=250)
_LEAST = 8  # tasks worth a visit to a strand, if it has as many
_SPARE = 1.25  # some strands hold less than their part

_Key = tuple[str, int]  # project and strand


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
    turn_at: datetime  # since when it waits for its turn
    bounds: list[Bound] = field(default_factory=list)

    @property
    def turn(self) -> datetime:
        return self.turn_at - self.priority * AGEING

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
    """When the claim looks at a strand again. ``drained``: it may hold nothing more, so that it is looked at not before
    its next task is due; never if it has none."""

    place: Place
    at: datetime | None
    drained: bool
    blocked_on: str | None
    waits: bool  # a limit kept it from giving anything, so that its turn is still to come


class Rota:
    """One claim's way through the strands that are due."""

    def __init__(self, now: datetime, *, after: str = "") -> None:
        self._now = now
        self.reached = after  # the project of the last task that was leased, in the former claim at first
        self._due: list[Place] = []
        self._served: set[_Key] = set()  # those that gave all they were asked for
        self._looks: dict[_Key, Look] = {}
        self.at_share = False  # this worker's own share of a flow key kept it from taking more

    def join(self, places: Iterable[Place]) -> None:
        """Strands that are due; those that have been here before are left out."""
        self._due += (place for place in places if _key(place) not in self._looks)

    def offers(self, want: int) -> list[Offer]:
        """Whom to ask next for ``want`` tasks in all, in turn; together they may offer more. Empty when all were asked
        for all they may give."""
        startable, self._due = self._startable(), []
        offers: list[Offer] = []
        promised = 0
        for place, part, first in self._in_turn(startable, want):
            quota = min([part, want, *(bound.left for bound in place.bounds)])
            # Those whose turn comes later have nothing while those before them may have more.
            if quota <= 0 or promised >= want * (_SPARE if first else 1):
                self._due.append(place)  # what is promised to others now may be left over
                continue
            for bound in place.bounds:
                bound.left -= quota
            offers.append(Offer(place, quota))
            promised += quota
        return offers

    def note(self, offers: Sequence[Offer], got: Mapping[tuple[str, int], int], *, full: bool) -> None:
        """What the offers came to. ``full``: as many were leased as were wanted, so that the last of ``offers`` may
        hold more than they gave."""
        counts = [got.get(_key(offer.place), 0) for offer in offers]
        for offer, count in zip(offers, counts, strict=True):
            for bound in offer.place.bounds:
                bound.left += offer.quota - count
        given = [number for number, count in enumerate(counts) if count]
        self.reached = offers[given[-1]].place.project if given else self.reached
        last = given[-1] if full else len(offers)
        for number, (offer, count) in enumerate(zip(offers, counts, strict=True)):
            if number < last and count < offer.quota:
                self._had_its_turn(offer.place, drained=True)
                continue
            self._due.append(offer.place)
            if number <= last:
                self._served.add(_key(offer.place))
                self._had_its_turn(offer.place, drained=False)

    def looks(self) -> list[Look]:
        """Of every strand that was asked or put off. Who was not reached keeps its turn, and so does for a moment who
        is alone and has more to give: nobody is kept waiting, and most claims are spared a write."""
        looks = list(self._looks.values())
        return [] if len(looks) == 1 and self._goes_on_alone(looks[0]) else looks

    def _goes_on_alone(self, look: Look) -> bool:
        unstopped = look.at == self._now and not look.drained and look.blocked_on is None
        recent = self._now - look.place.turn_at < LOOK_AGAIN
        return unstopped and recent and all(place is look.place for place in self._due)

    def _startable(self) -> list[Place]:
        """Those that are due and that no limit stops; the others are put off."""
        startable = []
        for place in self._due:
            bound = place.stopped_by
            if bound is None:
                startable.append(place)
                continue
            served = _key(place) in self._served
            self.at_share |= bound.own
            self._looks[_key(place)] = Look(place, bound.again, drained=served, blocked_on=bound.name, waits=not served)
        return startable

    def _in_turn(self, places: Iterable[Place], want: int) -> Iterator[tuple[Place, int, bool]]:
        """One of each project in turn, beginning behind the one that was last, with its part of what is wanted.

        Strands of a project whose turns are less than a step of priority apart share what falls to the project. The
        first of them are marked; the others come after them.
        """
        of_project: defaultdict[str, list[Place]] = defaultdict(list)
        for place in places:
            of_project[place.project].append(place)
        lines = [
            self._line(of_project[project], want / len(of_project))
            for project in sorted(of_project, key=lambda project: (project <= self.reached, project))
        ]
        for number in range(max(map(len, lines), default=0)):
            yield from (line[number] for line in lines if number < len(line))

    def _line(self, places: list[Place], want: float) -> list[tuple[Place, int, bool]]:
        first = min(place.turn for place in places)
        step = {_key(place): (place.turn - first) // AGEING for place in places}
        crowd = Counter(step.values())
        # Who has given something already comes after those of the same step that were not asked yet.
        ordered = sorted(places, key=lambda place: (step[_key(place)], _key(place) in self._served, place.turn))
        return [
            (place, max(_LEAST, round(_SPARE * want / crowd[step[_key(place)]])), step[_key(place)] == 0)
            for place in ordered
        ]

    def _had_its_turn(self, place: Place, *, drained: bool) -> None:
        self._looks[_key(place)] = Look(place, self._now, drained, blocked_on=None, waits=False)


def _key(place: Place) -> _Key:
    return place.project, place.strand


def _lasting(bound: Bound) -> tuple[bool, float]:
    return (bound.again is None, bound.again.timestamp() if bound.again else 0.0)
