"""Slots: how many attempts are under way, and how many tasks are held ready for the next ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from taskqueue.store.database import Database
from taskqueue.worker.clock import ticks
from taskqueue.worker.held import Cut, Held
from taskqueue.worker.pace import Pace
from taskqueue.worker.slots import Slots
from tests.support.builders import claim_all, new_task, submit


def claimed(database: Database, flow_keys: Iterable[str]) -> list[Held]:
    submit(database, *(new_task(flow_key=key) for key in flow_keys))
    return [Held(task, fence=ticks() + 60) for task in claim_all(database)]


async def entering(slots: Slots, held: list[Held]) -> list[asyncio.Task[None]]:
    """All of them ask for a slot, one after the other."""
    asked = [asyncio.create_task(slots.enter(each)) for each in held]
    for each, task in zip(held, asked, strict=True):
        each.delivery = task
    await asyncio.sleep(0)
    return asked


def begun(asked: list[asyncio.Task[None]]) -> list[int]:
    return [number for number, task in enumerate(asked) if task.done()]


def test_no_more_attempts_are_under_way_than_there_are_slots_and_the_others_follow_in_turn(database: Database) -> None:
    held = claimed(database, "abcdef")

    async def run() -> None:
        slots = Slots(3)
        slots.take(held)
        asked = await entering(slots, held)
        assert begun(asked) == [0, 1, 2]
        assert slots.waiting() == held[3:]
        slots.leave(held[1])
        await asyncio.sleep(0)
        assert begun(asked) == [0, 1, 2, 3]
        slots.leave(held[0])
        slots.leave(held[2])
        await asyncio.sleep(0)
        assert begun(asked) == [0, 1, 2, 3, 4, 5]

    asyncio.run(run())


def test_one_flow_key_never_has_all_slots_even_if_it_holds_more_tasks(database: Database) -> None:
    held = claimed(database, "aaaab")

    async def run() -> None:
        slots = Slots(4)
        slots.take(held)
        hanging = [each for each in held if each.task.spec.flow_key == "a"]
        other = next(each for each in held if each.task.spec.flow_key == "b")
        asked = await entering(slots, [*hanging, other])
        assert begun(asked) == [0, 1, 2, 4]
        slots.leave(other)
        await asyncio.sleep(0)
        assert begun(asked) == [0, 1, 2, 4], "the last slot is for others"
        slots.leave(hanging[0])
        await asyncio.sleep(0)
        assert begun(asked) == [0, 1, 2, 3, 4]

    asyncio.run(run())


def test_who_waits_in_vain_is_cut_and_takes_no_slot_later(database: Database) -> None:
    held = claimed(database, "abc")

    async def run() -> None:
        slots = Slots(1)
        slots.take(held)
        asked = await entering(slots, held)
        with pytest.raises(asyncio.CancelledError):
            await asked[1]
        assert held[1].cut_for is Cut.UNSTARTED
        held[2].cut(Cut.DRAINED)
        await asyncio.sleep(0)
        for each in held[1:]:
            slots.release(each)
        slots.leave(held[0])
        slots.release(held[0])
        assert (slots.free, slots.taken, slots.waiting()) == (1, 0, [])

    asyncio.run(run())


def test_tasks_are_held_ready_only_while_attempts_end_quickly(database: Database) -> None:
    held = claimed(database, (f"flow {number}" for number in range(90)))
    now = 0.0

    async def run() -> None:
        nonlocal now
        slots = Slots(40, pace=Pace(lambda: now))
        assert slots.free == 40
        for number, each in enumerate(held, 1):
            slots.take([each])
            await slots.enter(each)
            now = number * 0.002
            slots.leave(each)
            slots.release(each)
        assert slots.free == 40 + 15, "500 end in a second, 15 in the 30 ms that a claim takes"
        assert slots.share.most == 39, "nothing of one flow key is held ready beyond what of it may run"
        now += 10
        assert slots.free == 40, "after a pause nothing is held ready"

    asyncio.run(run())


def test_the_pace_is_that_of_the_last_window_and_falls_when_nothing_ends() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.rate == 0
    for number in range(1, 101):
        now = number / 1000
        pace.note()
    assert pace.rate == pytest.approx(1000)
    now += 0.05
    assert pace.rate == pytest.approx(1000), "too early to tell"
    pace.note()
    now += 0.45
    assert pace.rate == pytest.approx(2)
