"""Whatever the strands hold, the limits leave and the strands yield: no limit is passed, and nobody is overlooked."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.core.rota import LOOK_AGAIN, Bound, Place
from tests.core.rounds import NOW, Claim, claim, place

SOON = NOW + LOOK_AGAIN
PROJECTS = "abc"


@dataclass(frozen=True)
class Scene:
    """Due strands with what they hold, and the limits that some of them share."""

    places: list[Place]
    waiting: dict[int, int]
    left: dict[int, int]  # of each limit, by its identity, before the claim
    want: int
    rounds: int  # in which the strands are found


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    bounds = [
        Bound(draw(st.integers(-2, 40)), draw(st.sampled_from([None, NOW, SOON])), draw(st.sampled_from([None, "x"])))
        for _ in range(draw(st.integers(0, 4)))
    ]
    places = [
        place(
            number,
            *draw(st.lists(st.sampled_from(bounds), max_size=3, unique_by=id) if bounds else st.just([])),
            waited=draw(st.floats(0, 90)),
            project=draw(st.sampled_from(PROJECTS)),
            priority=draw(st.integers(0, 9)),
        )
        for number in range(draw(st.integers(0, 12)))
    ]
    waiting = {each.strand: draw(st.sampled_from([0, 1, 3, 20, 500])) for each in places}
    left = {id(bound): bound.left for bound in bounds}
    return Scene(places, waiting, left, draw(st.sampled_from([1, 2, 8, 30, 200])), draw(st.integers(1, 3)))


def played(scene: Scene) -> tuple[Claim, Counter[int]]:
    size = max(1, -(-len(scene.places) // scene.rounds))
    rounds = [scene.places[start : start + size] for start in range(0, len(scene.places), size)]
    made = claim(scene.waiting, scene.want, *rounds)
    return made, Counter(made.got)


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_no_more_is_taken_than_wanted_or_than_any_limit_leaves(scene: Scene) -> None:
    made, got = played(scene)
    taken: defaultdict[int, int] = defaultdict(int)
    bounds = {id(bound): bound for each in scene.places for bound in each.bounds}
    for each in scene.places:
        assert got[each.strand] <= scene.waiting[each.strand]
        for bound in each.bounds:
            taken[id(bound)] += got[each.strand]
    assert len(made.got) <= scene.want
    for key, bound in bounds.items():
        assert bound.left == scene.left[key] - taken[key]
        assert bound.left >= min(0, scene.left[key])


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_whoever_may_start_starts_unless_the_claim_is_full(scene: Scene) -> None:
    made, got = played(scene)
    if len(made.got) == scene.want:
        return
    for each in scene.places:
        left = scene.waiting[each.strand] - got[each.strand]
        assert not left or each.stopped_by is not None, "it could have had more"
        assert each.strand in made.looks, "all were asked or put off"


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_a_strand_counts_as_drained_only_when_it_holds_nothing_more_or_a_limit_stops_it(scene: Scene) -> None:
    made, got = played(scene)
    for number, look in made.looks.items():
        if look.drained and look.place.stopped_by is None:
            assert got[number] == scene.waiting[number]
            assert (look.at, look.blocked_on) == (NOW, None)
        if got[number] == scene.waiting[number] and len(made.got) < scene.want and look.place.stopped_by is None:
            assert look.drained
        if got[number] and look.blocked_on:
            assert look.drained, "nothing may be left in it for which a slot should be kept"


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_a_strand_is_put_off_only_by_a_limit_that_is_exhausted(scene: Scene) -> None:
    made, got = played(scene)
    for look in made.looks.values():
        if look.at != NOW or look.blocked_on:
            spent = [bound for bound in look.place.bounds if bound.left <= 0]
            assert (look.at, look.blocked_on) in [(bound.again, bound.name) for bound in spent]
    served = [each for each in scene.places if got[each.strand] and each.strand not in made.looks]
    fresh = [each for each in served if NOW - each.turn_at < LOOK_AGAIN]
    assert not served or (served == fresh[:1] and not made.looks), "only who is alone keeps its turn, for a moment"


@settings(max_examples=25, deadline=None)
@given(scenes(), st.sampled_from(["", *PROJECTS]))
def test_claims_of_one_task_come_to_every_project_that_has_any(scene: Scene, after: str) -> None:
    free = [each for each in scene.places if all(bound.left > len(PROJECTS) for bound in each.bounds)]
    having = [each for each in free if scene.waiting[each.strand]]
    of_strand = {each.strand: each.project for each in having}
    served = []
    for _ in set(of_strand.values()):
        made = claim(scene.waiting, 1, having, after=after)
        after = made.rota.reached
        served += [of_strand[number] for number in made.got]
    assert sorted(served) == sorted(set(of_strand.values()))
