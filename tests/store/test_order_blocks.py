"""A death that blocks its ordering key: the key waits, keeps its order, and goes on once somebody has decided."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from taskqueue.core.errors import Conflict, InvalidTask
from taskqueue.core.outcome import lapsed
from taskqueue.core.policy import OnLost, Policy
from taskqueue.core.queue import OnDeath
from taskqueue.core.task import TaskState
from taskqueue.store import operations, order_blocks, queues, retention, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter, Edits
from taskqueue.store.search import seal
from tests.store.invariants import faults
from tests.store.lanes import (
    advance_all,
    blocks,
    define,
    expire_all,
    in_lane,
    kill_head,
    letter_of,
    redrive,
    run_out,
    unblock,
)
from tests.store.pages import every_page
from tests.store.steps import decided, settle, settle_all
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture(autouse=True)
def blocking(database: Database) -> None:
    """The queue of these tests blocks."""
    define(database, OnDeath.BLOCK)


def test_nothing_of_the_key_starts_behind_a_dead_task(database: Database) -> None:
    first, second = in_lane(database, 2)
    assert kill_head(database).id == first.id
    (third,) = in_lane(database)
    (elsewhere,) = in_lane(database, key="b")
    assert [task.id for task in claim_all(database)] == [elsewhere.id]
    assert [look_up(database, task.id).held for task in (second, third)] == [True, True]
    (block,) = blocks(database)
    assert (block.ordering_key, block.task_id, block.on_death) == ("a", first.id, OnDeath.BLOCK)
    assert (block.dead_letter_id, block.waiting) == (letter_of(database, first), 2)
    ending = look_up(database, first.id).ending
    assert ending is not None
    assert block.since == ending.finished_at


def test_a_queue_that_skips_is_asked_once_and_goes_on(database: Database) -> None:
    define(database, OnDeath.SKIP)
    _, second = in_lane(database, 2)
    kill_head(database)
    assert run_out(database) == [second.id]
    assert blocks(database) == []


def test_a_task_without_a_key_blocks_nothing(database: Database) -> None:
    submit_one(database)
    kill_head(database)
    assert blocks(database) == []


def test_a_redriven_task_runs_before_all_that_waits_for_it(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    (third,) = in_lane(database)
    assert redrive(database, first).held is False
    assert blocks(database) == []
    assert run_out(database) == [first.id, second.id, third.id]


def test_an_edited_redrive_resolves_it_too(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    redrive(database, first, Edits(body=b"{}", content_type="application/json"))
    assert run_out(database) == [first.id, second.id]


def test_who_dies_again_blocks_again(database: Database) -> None:
    first, second = in_lane(database, 2)
    for _ in range(3):
        kill_head(database)
        assert claim_all(database) == []
        redrive(database, first)
    assert run_out(database) == [first.id, second.id]


def test_a_key_can_be_unblocked_and_the_dead_letter_stays(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    assert unblock(database) == 1
    assert unblock(database) == 0
    revived = redrive(database, first)
    assert revived.held, "it joins the tail: the others have gone on"
    assert run_out(database) == [second.id, first.id]


def test_a_queue_that_skips_from_now_on_is_blocked_no_more(database: Database) -> None:
    heads = [in_lane(database, 2, key=key)[0] for key in "abc"]
    settle_all(database, claim_all(database), 400)
    assert advance_all(database) == 0
    define(database, OnDeath.PARK)
    assert advance_all(database) == 0, "what is blocked stays so until somebody decides"
    define(database, OnDeath.SKIP)
    assert claim_all(database) == []
    assert advance_all(database, limit=2) == 2
    assert len(claim_all(database)) == 2
    assert advance_all(database, limit=2) == 1
    assert len(claim_all(database)) == 1
    assert blocks(database) == []
    assert {look_up(database, task.id).state for task in heads} == {TaskState.DEAD}


def test_a_queue_that_is_forgotten_is_blocked_no_more(database: Database) -> None:
    _, second = in_lane(database, 2)
    kill_head(database)
    with database.begin() as conn:
        assert queues.remove(conn, database, "default", "default")
    assert advance_all(database) == 1
    assert run_out(database) == [second.id]


def test_only_the_queues_that_skip_are_unblocked(database: Database) -> None:
    define(database, OnDeath.BLOCK, "mail")
    define(database, OnDeath.BLOCK, "zoo")
    for queue in ("default", "mail", "zoo"):
        in_lane(database, 2, queue=queue)
    settle_all(database, claim_all(database), 400)
    define(database, OnDeath.SKIP, "mail")
    assert advance_all(database) == 1
    assert [task.spec.queue for task in claim_all(database)] == ["mail"]


@pytest.mark.parametrize("lost", [False, True])
def test_every_kind_of_death_blocks(database: Database, clock: Clock, lost: bool) -> None:
    life = {"policy": Policy(on_lost=OnLost.DEAD)} if lost else {"expires_in": timedelta(seconds=10)}
    in_lane(database, 1, **life)
    (second,) = in_lane(database)
    if lost:
        running = claim_one(database)
        clock.advance(seconds=16)
        settle(database, decided(database, running, lapsed()))
    else:
        clock.advance(seconds=11)
        expire_all(database)
    assert claim_all(database) == []
    assert len(blocks(database)) == 1
    assert unblock(database) == 1
    assert run_out(database) == [second.id]


def test_a_cancelled_task_blocks_nothing(database: Database) -> None:
    first, second = in_lane(database, 2)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", first.id)
    assert run_out(database) == [second.id]


def test_who_dies_while_it_waits_keeps_its_place(database: Database, clock: Clock) -> None:
    first = in_lane(database)[0]
    second = in_lane(database, expires_in=timedelta(seconds=10))[0]
    third = in_lane(database)[0]
    clock.advance(seconds=11)
    expire_all(database)
    assert look_up(database, second.id).state is TaskState.DEAD
    running = claim_one(database)
    assert running.id == first.id, "who came before it goes on"
    settle_one(database, running, answer(200))
    assert claim_all(database) == []
    assert look_up(database, third.id).held
    redrive(database, second)
    assert run_out(database) == [second.id, third.id]


def test_several_deaths_of_one_key_are_resolved_one_by_one_in_their_order(database: Database, clock: Clock) -> None:
    first, second = in_lane(database, 2, expires_in=timedelta(seconds=10))
    third = in_lane(database)[0]
    clock.advance(seconds=11)
    expire_all(database)
    assert [block.task_id for block in blocks(database)] == [first.id, second.id]
    assert redrive(database, second).held
    assert claim_all(database) == []
    assert redrive(database, first).held is False
    assert run_out(database) == [first.id, second.id, third.id]


def test_a_bulk_redrive_brings_all_back_in_their_order(database: Database, clock: Clock) -> None:
    dead = in_lane(database, 3, expires_in=timedelta(seconds=10))
    last = in_lane(database)[0]
    clock.advance(seconds=11)
    expire_all(database)
    with database.begin() as conn:
        operations.start_redrive(conn, database, "default", DeadLetterFilter(), rate=None)
    with database.begin() as conn:
        assert operations.advance(conn, database) == 3
    assert run_out(database) == [task.id for task in (*dead, last)]


def test_a_redrive_that_comes_too_late_for_the_block_joins_the_tail(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    unblock(database)
    assert kill_head(database).id == second.id
    assert redrive(database, first).held, "now the second blocks"
    assert claim_all(database) == []
    redrive(database, second)
    assert run_out(database) == [second.id, first.id]


def test_run_now_does_not_pass_a_block(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    died = f"waits for task {first.id} of the same ordering key, which died"
    with pytest.raises(Conflict, match=died), database.begin() as conn:
        tasks.run_now(conn, database, "default", second.id)


def test_a_purged_key_stays_blocked(database: Database) -> None:
    first, second = in_lane(database, 2)
    kill_head(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", second.id)
    (third,) = in_lane(database)
    assert third.held
    redrive(database, first)
    assert run_out(database) == [first.id, third.id]


def test_a_dead_letter_that_blocks_outlives_its_retention(database: Database, clock: Clock) -> None:
    first = in_lane(database)[0]
    kill_head(database)
    second = in_lane(database, expires_in=timedelta(days=90))[0]
    span = timedelta(days=1)
    clock.advance(days=40)

    def prune() -> None:
        with database.begin() as conn:
            retention.prune(conn, database, ended=span, dead=span)

    prune()
    assert letter_of(database, first)
    unblock(database)
    prune()
    with database.read() as conn:
        assert tasks.get(conn, "default", first.id) is None
    assert run_out(database) == [second.id]


def test_blocks_are_listed_by_key_page_by_page(database: Database) -> None:
    for key in ("b", "c", "a"):
        in_lane(database, 2, key=key)
    settle_all(database, claim_all(database), 400)
    with database.read() as conn:
        pages = every_page(lambda cursor: order_blocks.search(conn, "default", "default", cursor=cursor, limit=1))
        assert order_blocks.count_keys(conn, "default", "default", most=9) == 3
        assert order_blocks.count_keys(conn, "default", "default", most=2) == 2
        assert order_blocks.count_keys(conn, "other", "default", most=9) == 0
        assert order_blocks.search(conn, "other", "default", cursor=None, limit=9).items == []
    assert [[block.ordering_key for block in page] for page in pages] == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("place", [b"", b"[]", b'["a",-1]', b"\xff", b'["a",1e300]'])
def test_a_cursor_of_another_list_is_refused(database: Database, place: bytes) -> None:
    with database.read() as conn, pytest.raises(InvalidTask):
        order_blocks.search(conn, "default", "default", cursor=seal(place, "default"), limit=9)


def test_of_what_waits_no_more_is_counted_than_was_said(database: Database) -> None:
    in_lane(database)
    kill_head(database)
    for _ in range(2):
        submit(database, *(new_task(ordering_key="a") for _ in range(order_blocks.MOST // 2 + 1)))
    (block,) = blocks(database)
    assert (block.waiting, block.capped) == (order_blocks.MOST, True)


def test_submits_deaths_and_redrives_at_once_lose_nobody_and_keep_the_order(
    database: Database, other: Database
) -> None:
    for _ in range(12):
        first = in_lane(database)[0]
        head = claim_one(database)
        death = decided(database, head, answer(400))
        results(at_once([partial(settle, database, death), partial(in_lane, other)]))
        assert claim_all(database) == []
        results(at_once([partial(redrive, database, first), partial(in_lane, other)]))
        ran = run_out(database)
        assert (ran[0], len(ran)) == (first.id, 3)
        assert faults(database) == []


def test_a_death_while_its_queue_changes_to_skip_holds_nobody_for_long(database: Database, other: Database) -> None:
    for _ in range(8):
        define(database, OnDeath.BLOCK)
        _, second = in_lane(database, 2)
        death = decided(database, claim_one(database), answer(400))
        calls = [partial(settle, database, death), partial(define, other, OnDeath.SKIP), partial(advance_all, other)]
        results(at_once(calls))  # type: ignore[arg-type]
        advance_all(database)
        assert run_out(database) == [second.id]
