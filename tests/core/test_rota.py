"""Whose turn it is: within every limit, nobody left out, and those who waited longest first."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise

from taskqueue.core.rota import AGEING, HEAD_START, Bound, Rota
from tests.core.rounds import NOW, claim, place

SOON = NOW + timedelta(milliseconds=250)
LATER = NOW + timedelta(seconds=9)


def test_a_claim_takes_what_it_wants_and_no_more() -> None:
    assert len(claim({1: 100}, 30, [place(1)]).got) == 30
    assert len(claim({1: 10, 2: 20}, 100, [place(1), place(2)]).got) == 30


def test_without_strands_there_is_nothing_to_ask() -> None:
    rota = Rota(NOW)
    rota.join([])
    assert rota.offers(10) == []
    assert rota.looks() == []


def test_the_strand_that_waited_longest_comes_first() -> None:
    places = [place(number, waited=waited) for number, waited in ((1, 3.0), (2, 7.0), (3, 5.0))]
    assert claim({1: 1, 2: 1, 3: 1}, 3, places).got == [2, 3, 1]


def test_a_higher_priority_comes_first() -> None:
    places = [place(priority, priority=priority) for priority in (3, 9, 0, 5)]
    assert claim(dict.fromkeys(range(10), 8), 32, places).got[::8] == [9, 5, 3, 0]


def test_a_low_priority_overtakes_a_fresh_high_one_once_it_waited_for_45_seconds() -> None:
    fresh = place(9, priority=9)
    for waited, first in ((44.9, 9), (45.1, 0)):
        assert claim({0: 1, 9: 1}, 1, [fresh, place(0, priority=0, waited=waited)]).got == [first]
    assert timedelta(seconds=45) == 9 * AGEING


def test_a_strand_that_was_idle_comes_before_all_that_are_served_but_not_before_who_waited_longer() -> None:
    ahead = HEAD_START.total_seconds()
    idle, served, neglected = place(1, waited=ahead), place(2, waited=0.3), place(3, waited=ahead + 0.2)
    assert claim({1: 1, 2: 100, 3: 100}, 17, [served, neglected, idle]).got[::8] == [3, 1, 2]


def test_projects_take_turns_however_many_strands_one_has() -> None:
    crowd = [place(number, waited=60, project="crowd") for number in range(50)]
    got = claim(dict.fromkeys(range(100), 100), 40, [*crowd, place(99, project="one")]).got
    assert 0 < got.index(99) <= 8
    assert 15 <= got.count(99) <= 25


def test_a_project_with_many_strands_does_not_keep_the_others_out_of_small_claims() -> None:
    crowd = [place(number, waited=60, project="crowd") for number in range(50)]
    one = [place(99, project="one")]
    waiting = dict.fromkeys(range(100), 100)
    first = claim(waiting, 1, [*crowd, *one])
    second = claim(waiting, 1, [*crowd, *one], after=first.rota.reached)
    third = claim(waiting, 1, [*crowd, *one], after=second.rota.reached)
    assert [each.got[0] == 99 for each in (first, second, third)] == [False, True, False]


def test_while_a_higher_priority_has_any_a_lower_one_has_none() -> None:
    places = [place(priority, priority=priority, waited=20) for priority in range(10)]
    waiting = dict.fromkeys(range(10), 50)
    assert Counter(claim(waiting, 50, places).got) == {9: 50}
    assert Counter(claim(waiting, 120, places).got) == {9: 50, 8: 50, 7: 20}
    two = [place(10, priority=9, waited=20), *places]
    assert Counter(claim({**waiting, 10: 5}, 55, two).got) == {9: 50, 10: 5}


def test_a_large_claim_is_spread_over_the_strands() -> None:
    count = Counter(claim(dict.fromkeys(range(10), 1000), 100, [place(number) for number in range(10)]).got)
    assert len(count) >= 8  # a little more is asked of each than its part, for some hold less
    assert max(count.values()) <= 13


def test_a_few_tasks_are_not_worth_more_than_a_few_visits() -> None:
    assert len(claim(dict.fromkeys(range(100), 1000), 16, [place(number) for number in range(100)]).offers) <= 4


def test_what_some_strands_leave_over_others_may_take() -> None:
    waiting = {1: 0, 2: 1, 3: 1000}
    assert Counter(claim(waiting, 100, [place(1), place(2), place(3)]).got) == {2: 1, 3: 99}


def test_a_limit_is_kept_by_all_that_share_it_together() -> None:
    shared = Bound(10, SOON, "queue default")
    places = [place(number, shared) for number in range(5)]
    made = claim(dict.fromkeys(range(10), 100), 40, [*places, place(9)])
    assert Counter(number == 9 for number in made.got) == {True: 30, False: 10}
    assert shared.left == 0


def test_what_a_strand_leaves_of_a_limit_is_for_the_others_that_share_it() -> None:
    shared = Bound(10, SOON, "queue default")
    made = claim({1: 1, 2: 100}, 40, [place(1, shared), place(2, shared)])
    assert Counter(made.got) == {1: 1, 2: 9}


def test_of_several_limits_the_narrowest_counts() -> None:
    wide, narrow = Bound(7, SOON, "wide"), Bound(3, SOON, "narrow")
    made = claim({1: 100}, 40, [place(1, wide, narrow)])
    assert len(made.got) == 3
    assert (wide.left, narrow.left) == (4, 0)
    assert made.looks[1].blocked_on == "narrow"


def test_a_strand_that_runs_into_a_limit_is_looked_at_again_when_that_eases() -> None:
    look = claim({1: 100}, 40, [place(1, Bound(3, SOON, "queue default"))]).looks[1]
    assert (look.at, look.blocked_on) == (SOON, "queue default")


def test_a_strand_that_gave_all_a_limit_let_it_may_be_empty() -> None:
    for waiting in (3, 4):
        look = claim({1: waiting}, 40, [place(1, Bound(3, SOON, "queue default"))]).looks[1]
        assert (look.at, look.drained, look.blocked_on) == (SOON, True, "queue default")


def test_a_strand_that_a_limit_stops_is_not_asked_at_all() -> None:
    made = claim({1: 100}, 40, [place(1, Bound(0, SOON, "queue default"))])
    assert made.offers == []
    assert made.looks[1].at == SOON


def test_a_limit_that_was_passed_already_stops_like_one_that_is_reached() -> None:
    made = claim({1: 100}, 40, [place(1, Bound(-3, SOON, "queue default"))])
    assert (made.offers, made.looks[1].at) == ([], SOON)


def test_of_several_limits_the_one_that_lasts_longest_says_when_to_look_again() -> None:
    cap, rate, pause = Bound(0, SOON, "queue default"), Bound(0, LATER), Bound(0, None)
    for bounds, at, name in (
        ((cap, rate), LATER, None),
        ((rate, cap), LATER, None),
        ((cap, pause, rate), None, None),
        ((cap, Bound(5, None)), SOON, "queue default"),
    ):
        look = claim({1: 1}, 40, [place(1, *bounds)]).looks[1]
        assert (look.at, look.blocked_on, look.drained) == (at, name, False)


def test_a_drained_strand_is_looked_at_when_its_next_task_is_due() -> None:
    look = claim({1: 3}, 40, [place(1)]).looks[1]
    assert (look.at, look.drained, look.blocked_on) == (NOW, True, None)


def test_a_strand_that_has_more_has_its_next_turn_after_all_that_are_due_now() -> None:
    look = claim({1: 100}, 8, [place(1, waited=60)]).looks[1]
    assert (look.at, look.drained) == (NOW, False)


def test_who_is_alone_and_has_more_is_left_as_it_is_for_a_moment() -> None:
    assert claim({1: 100}, 8, [place(1, waited=0.2)]).looks == {}
    assert set(claim({1: 100}, 8, [place(1, waited=0.3)]).looks) == {1}
    assert set(claim({1: 3}, 8, [place(1, waited=0.2)]).looks) == {1}
    assert set(claim({1: 100, 2: 100}, 8, [place(1, waited=0.2), place(2)]).looks) == {1}


def test_who_is_alone_and_stopped_by_a_limit_is_put_off_at_once() -> None:
    for bound in (Bound(0, LATER), Bound(0, None), Bound(0, SOON, "queue default")):
        look = claim({1: 100}, 8, [place(1, bound)]).looks[1]
        assert (look.at, look.waits) == (bound.again, True)
        look = claim({1: 100}, 8, [place(1, Bound(3, bound.again))]).looks[1]
        assert (look.at, look.waits) == (bound.again, False)


def test_a_strand_that_was_not_reached_keeps_its_turn() -> None:
    made = claim({1: 100, 2: 100}, 8, [place(1, waited=2), place(2, waited=1)])
    assert Counter(made.got) == {1: 8}
    assert set(made.looks) == {1}


def test_the_last_that_was_asked_may_have_more_though_it_gave_less() -> None:
    made = claim({1: 5, 2: 100}, 8, [place(1, waited=2), place(2, waited=1)])
    assert Counter(made.got) == {1: 5, 2: 3}
    assert (made.looks[1].drained, made.looks[2].drained) == (True, False)


def test_a_strand_is_asked_in_one_round_only_however_often_it_is_found() -> None:
    made = claim({1: 3, 2: 3}, 40, [place(1)], [place(1), place(2)])
    assert [offer.place.strand for offer in made.offers] == [1, 2]


def test_a_worker_that_holds_its_share_of_a_flow_key_leaves_the_strand_to_others() -> None:
    made = claim({1: 100}, 40, [place(1, Bound(3, NOW, own=True))])
    assert (len(made.got), made.looks[1].at, made.looks[1].blocked_on) == (3, NOW, None)
    assert made.rota.at_share
    assert not claim({1: 2}, 40, [place(1, Bound(3, NOW, own=True))]).rota.at_share


def test_a_share_does_not_hide_a_limit_that_stops_everybody() -> None:
    made = claim({1: 100}, 40, [place(1, Bound(0, NOW, own=True), Bound(0, LATER))])
    assert (made.looks[1].at, made.rota.at_share) == (LATER, False)


def test_ten_claims_of_a_few_serve_everybody_in_turn() -> None:
    """As the claim does it: who was served comes after those who were not."""
    waited = {number: 1.0 + number / 100 for number in range(10)}
    served: list[int] = []
    for step in range(10):
        places = [place(number, waited=age) for number, age in waited.items()]
        (number, *rest) = set(claim(dict.fromkeys(range(10), 100), 8, places).got)
        assert not rest
        served.append(number)
        waited[number] = -step / 1000
    assert sorted(served) == list(range(10))
    assert all(first > second for first, second in pairwise(served))
