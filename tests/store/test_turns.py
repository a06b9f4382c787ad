"""Turns: first come, first served, and nobody waits for longer than they said."""

from __future__ import annotations

import threading
import time
from inspect import unwrap

import pytest

from taskqueue.store.turns import Turns
from tests.store.threads import at_once, results, wait_inside


def test_turns_come_in_the_order_they_were_asked_for() -> None:
    turns, order = Turns(), []

    def take(number: int) -> None:
        with turns.turn(30):
            order.append(number)

    with turns.turn(1):
        threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
            wait_inside(unwrap(Turns.turn), [thread])
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_one_at_a_time_holds_the_turn() -> None:
    turns, inside, most = Turns(), [0], [0]

    def take() -> None:
        for _ in range(300):
            with turns.turn(30):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    results(at_once([take] * 6))
    assert most == [1]


def test_a_turn_that_does_not_come_is_given_up_in_time_and_passes_to_the_next() -> None:
    turns = Turns()
    with turns.turn(1):
        answered = at_once([lambda: _take(turns, 0.1), lambda: _take(turns, 0.1)])
        assert all(isinstance(each, TimeoutError) for each in answered)
    _take(turns, 0)
    with turns.turn(0), pytest.raises(TimeoutError):
        _take(turns, -1)


def test_an_error_inside_hands_the_turn_on() -> None:
    turns = Turns()

    def fail() -> None:
        with turns.turn(1):
            raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError, match=r"^$"):
            fail()
    _take(turns, 0)


def test_waiting_and_giving_up_at_the_same_moment_loses_no_turn() -> None:
    turns = Turns()

    def take_or_leave() -> int:
        taken = 0
        for _ in range(100):
            try:
                with turns.turn(0.0005):
                    taken += 1
                    time.sleep(0.0005)
            except TimeoutError:
                continue
        return taken

    assert sum(results(at_once([take_or_leave] * 6))) > 0
    _take(turns, 0)


def _take(turns: Turns, timeout: float) -> None:
    """Take the turn and hand it on; with a timeout of 0, the turn must be free."""
    with turns.turn(timeout):
        pass
