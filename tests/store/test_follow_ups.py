"""Follow-ups: each ending that asks for one brings exactly one, in its own transaction."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from taskqueue.core.lifecycle import expire
from taskqueue.core.outcome import lapsed
from taskqueue.core.policy import Policy, Rule
from taskqueue.core.task import FollowUp, Kind, Task, TaskId, TaskState
from taskqueue.store import dead_letters, leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetter, DeadLetterFilter
from taskqueue.store.schema import tasks as tasks_table
from tests.store.steps import decided, settle
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
FOLLOWED = {
    "on_failure": FollowUp(task=new_task(queue="undo", body=None)),
    "on_success": FollowUp(task=new_task(queue="next", body=None)),
}


def following(database: Database, parent: TaskId) -> list[Task]:
    with database.read() as conn:
        found = conn.execute(select(tasks_table.c.id).where(tasks_table.c.parent_id == parent).order_by("id"))
        ids = [TaskId(row.id) for row in found]
    return [look_up(database, id_) for id_ in ids]


def body_of(task: Task) -> Any:
    return json.loads(task.spec.body or b"")


def letters(database: Database) -> list[DeadLetter]:
    wanted = DeadLetterFilter(include_redriven=True)
    with database.read() as conn:
        return dead_letters.search(conn, "default", wanted, cursor=None, limit=9).items


def redrive(database: Database) -> None:
    with database.begin() as conn:
        letter = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=9).items[0]
        dead_letters.redrive(conn, database, "default", letter.id, force=True)


def test_a_death_brings_its_compensation_which_the_dead_letter_names(database: Database) -> None:
    task = submit_one(database, **FOLLOWED, project="default", traceparent="00-aa-bb-01")
    settle_one(database, claim_one(database), answer(400, body=b"no such account"))
    (undo,) = following(database, task.id)
    assert (undo.spec.kind, undo.spec.queue, undo.state) == (Kind.TASK, "undo", TaskState.QUEUED)
    assert (undo.spec.parent_id, undo.spec.root_id, undo.spec.traceparent) == (task.id, task.id, "00-aa-bb-01")
    (letter,) = letters(database)
    assert letter.compensation_id == undo.id
    told = body_of(undo)
    assert (told["task"]["id"], told["task"]["deadLetterId"]) == (str(task.id), str(letter.id))
    assert [attempt["response"]["body"] for attempt in told["attempts"]] == ["no such account"]
    assert told["payload"] == {"n": 1}
    assert claim_one(database).id == undo.id


def test_a_success_brings_the_next_task(database: Database) -> None:
    task = submit_one(database, **FOLLOWED)
    settle_one(database, claim_one(database), answer(200, body=b"done"))
    (after,) = following(database, task.id)
    assert after.spec.queue == "next"
    assert body_of(after)["result"]["body"] == "done"
    assert letters(database) == []


def test_a_task_that_is_called_off_is_followed_by_nothing(database: Database) -> None:
    waiting, running = submit_one(database, **FOLLOWED, delay=timedelta(hours=1)), submit_one(database, **FOLLOWED)
    claim_one(database)
    with database.begin() as conn:
        for task in (waiting, running):
            tasks.cancel(conn, database, "default", task.id)
    assert following(database, waiting.id) == following(database, running.id) == []


def test_a_death_that_does_not_match_is_not_compensated(database: Database) -> None:
    undo = FollowUp(task=new_task(), match=("partial:likely", "reason:expired"))
    rejected, uncertain, late = (submit_one(database, on_failure=undo, retries=0) for _ in range(3))
    claimed = {task.id: task for task in claim_all(database)}
    settle_one(database, claimed[rejected.id], answer(400))
    settle_one(database, claimed[uncertain.id], answer(504))
    settle_one(database, replace(claimed[late.id], expires_at=late.created_at), answer(503))
    assert [len(following(database, task.id)) for task in (rejected, uncertain, late)] == [0, 1, 0]
    assert {letter.task.id: letter.compensation_id is not None for letter in letters(database)} == {
        rejected.id: False,
        uncertain.id: True,
        late.id: False,
    }


def test_whoever_ends_a_task_brings_its_follow_up(database: Database, clock: Clock) -> None:
    expiring = submit_one(database, **FOLLOWED, expires_in=timedelta(seconds=30), delay=timedelta(seconds=20))
    losing = submit_one(database, **FOLLOWED, policy=Policy(rules=(Rule(match=("worker_lost",), retries=0),)))
    claim_one(database)
    clock.advance(seconds=60)
    with database.begin() as conn:
        now = database.now(conn)
        expired = [expire(task, now=now) for task in leases.expired(conn, database, limit=9)]
        assert leases.settle(conn, database, expired) == set()
    with database.read() as conn:
        (lost,) = leases.lapsed(conn, database, limit=9)
    assert settle_one(database, lost, lapsed())
    (undo,), (undo_lost,) = (following(database, task.id) for task in (expiring, losing))
    assert body_of(undo)["attempts"] == []
    assert [attempt["class"] for attempt in body_of(undo_lost)["attempts"]] == ["worker_lost"]


def test_a_compensation_is_told_of_the_attempts_of_this_generation_alone(database: Database, clock: Clock) -> None:
    task = submit_one(database, on_failure=FOLLOWED["on_failure"], retries=2)
    for statuses in ((500, 400), (503, 500, 500)):
        for status in statuses:
            (found,) = (each for each in claim_all(database) if each.id == task.id)
            settle_one(database, found, answer(status), jitter=1.0)
            clock.advance(minutes=10)
        if statuses[-1] == 400:
            redrive(database)
    first, second = (body_of(undo) for undo in following(database, task.id))
    assert [attempt["statusCode"] for attempt in first["attempts"]] == [500, 400]
    assert [(attempt["number"], attempt["statusCode"]) for attempt in second["attempts"]] == [
        (1, 503),
        (2, 500),
        (3, 500),
    ]
    assert [body["task"]["generation"] for body in (first, second)] == [1, 2]
    assert len({letter.compensation_id for letter in letters(database)}) == 2


def test_excerpts_that_would_fill_the_memory_are_not_read(database: Database, clock: Clock) -> None:
    task = submit_one(database, on_failure=FOLLOWED["on_failure"], retries=20)
    for number in range(21):
        found = claim_one(database)
        outcome = answer(500, headers=(("a", "b"),), body=bytes([number]) * 16384)
        settle_one(database, found, outcome, jitter=0.0)
        clock.advance(seconds=1)
    (undo,) = following(database, task.id)
    attempts = body_of(undo)["attempts"]
    assert [attempt["number"] for attempt in attempts] == list(range(1, 22))
    for attempt in attempts[:-1]:
        assert (attempt["response"]["body"], attempt["response"]["truncated"]) == ("", True)
        assert (attempt["statusCode"], attempt["response"]["headers"]) == (500, {})


def test_settling_twice_and_at_once_brings_one(database: Database, other: Database) -> None:
    submit(database, *(new_task(**FOLLOWED) for _ in range(10)))
    claimed = claim_all(database)
    batches = [[decided(database, task, answer(status)) for task in claimed] for status in (200, 400, 400, 200)]
    calls = [
        partial(settle, store, *(batch if turn % 2 else batch[::-1]))
        for turn, (store, batch) in enumerate(zip((database, other, database, other), batches, strict=True))
    ]
    assert sum(10 - len(stale) for stale in results(at_once(calls))) == 10
    for task in claimed:
        (after,) = following(database, task.id)
        assert after.spec.queue == ("next" if look_up(database, task.id).state is TaskState.SUCCEEDED else "undo")


def test_the_follow_up_of_an_ending_is_written_with_it_or_not_at_all(database: Database) -> None:
    submit(database, new_task(**FOLLOWED), new_task(**FOLLOWED))
    good, bad = (decided(database, task, answer(400)) for task in claim_all(database))
    assert bad.attempt is not None
    broken = replace(bad, attempt=replace(bad.attempt, worker=None))  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"(?i)null"):
        settle(database, good, broken)
    assert following(database, good.task.id) == following(database, bad.task.id) == letters(database) == []
    assert settle(database, good, bad) == set()
    assert [len(following(database, item.task.id)) for item in (good, bad)] == [1, 1]


def test_a_chain_of_follow_ups_hangs_from_one_root(database: Database) -> None:
    last = FollowUp(task=new_task(queue="last"))
    middle = FollowUp(task=new_task(queue="middle", on_failure=last))
    root = submit_one(database, on_success=middle)
    settle_one(database, claim_one(database), answer(200))
    second = claim_one(database)
    settle_one(database, second, answer(400))
    third = claim_one(database)
    assert (second.spec.queue, third.spec.queue) == ("middle", "last")
    assert (third.spec.parent_id, third.spec.root_id) == (second.id, root.id)
    assert body_of(third)["task"]["id"] == str(second.id)


def test_a_follow_up_may_wait_behind_its_own_lane(database: Database) -> None:
    keyed = FollowUp(task=new_task(ordering_key="a"))
    parent, behind = submit(database, new_task(ordering_key="a", on_success=keyed), new_task(ordering_key="a")).tasks
    settle_one(database, claim_one(database), answer(200))
    (child,) = following(database, parent.id)
    assert child.held
    (running,) = claim_all(database)
    assert running.id == behind.id
    settle_one(database, running, answer(200))
    assert claim_one(database).id == child.id


def test_a_follow_up_alone_in_the_lane_of_its_parent_may_go(database: Database) -> None:
    keyed = FollowUp(task=new_task(ordering_key="a"))
    parent = submit_one(database, ordering_key="a", on_success=keyed)
    settle_one(database, claim_one(database), answer(200))
    (child,) = following(database, parent.id)
    assert claim_one(database).id == child.id


def test_follow_ups_into_each_others_lanes_do_not_block_each_other(database: Database, other: Database) -> None:
    def crossing(mine: str, yours: str) -> Any:
        return new_task(ordering_key=mine, on_success=FollowUp(task=new_task(ordering_key=yours)))

    for turn in range(5):
        submit(database, crossing(f"a{turn}", f"b{turn}"), crossing(f"b{turn}", f"a{turn}"))
        one, two = (decided(database, task, answer(200)) for task in claim_all(database))
        calls = [partial(settle, database, one), partial(settle, other, two)]
        assert results(at_once(calls)) == [set(), set()]
        with database.begin() as conn:
            for task in following(database, one.task.id) + following(database, two.task.id):
                tasks.cancel(conn, database, "default", task.id)


def test_a_task_of_another_project_is_followed_in_its_own(database: Database) -> None:
    task = submit_one(database, **FOLLOWED, project="acme")
    settle_one(database, claim_one(database), answer(400))
    assert claim_one(database).spec.project == "acme"
    with database.read() as conn:
        assert tasks.get(conn, "default", task.id) is None


def test_the_family_of_a_task_is_seen_from_any_member(database: Database, clock: Clock) -> None:
    twice = FollowUp(task=new_task(queue="undo", on_success=FollowUp(task=new_task(queue="last"))))
    root, stranger = submit_one(database, on_failure=twice), submit_one(database)
    for _ in range(2):
        (found,) = (each for each in claim_all(database) if each.id == root.id)
        settle_one(database, found, answer(400))
        clock.advance(seconds=1)
        if look_up(database, root.id).progress.generation == 1:
            redrive(database)
    first, second = following(database, root.id)
    for task in claim_all(database):
        settle_one(database, task, answer(200))
    family = [root.id, first.id, second.id]
    family += [child.id for member in (first, second) for child in following(database, member.id)]
    for member in family:
        found = chain(database, member)
        assert found is not None
        assert [task.id for task in found] == sorted(family)
        assert found[0].spec.body is None
    assert [task.id for task in chain(database, stranger.id) or ()] == [stranger.id]


def test_nobody_sees_a_chain_of_another_project(database: Database) -> None:
    task = submit_one(database, **FOLLOWED, project="acme")
    settle_one(database, claim_one(database), answer(400))
    assert chain(database, task.id) is None
    assert len(chain(database, task.id, project="acme") or ()) == 2
    assert chain(database, TaskId(uuid4())) is None


def test_of_a_long_chain_the_oldest_thousand_are_seen(database: Database) -> None:
    root = submit_one(database)
    submit(database, *(new_task(parent_id=root.id, root_id=root.id) for _ in range(1000)))
    with database.begin() as conn:  # no ending asked for so many
        found = tasks.chain(conn, "default", root.id)
        assert found is not None
        assert (len(found), found[0].id) == (1000, root.id)
        conn.execute(tasks_table.update().values(parent_id=None, root_id=None))


def chain(database: Database, task_id: TaskId, *, project: str = "default") -> list[Task] | None:
    with database.read() as conn:
        return tasks.chain(conn, project, task_id)
