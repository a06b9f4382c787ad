"""Forgetting: what outlived its retention, all of it, and never a living task or one whose dead letter is kept."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from taskqueue.core.task import DeadLetterId, Task
from taskqueue.store import dead_letters, operations, retention, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter, Edits
from taskqueue.store.schema import dead_letters as letters_table
from taskqueue.store.schema import idempotency_keys, metadata
from taskqueue.store.schema import operations as operations_table
from taskqueue.store.schema import tasks as tasks_table
from taskqueue.store.submissions import IdempotencyKey
from tests.store import plans
from tests.store.steps import settle_all
from tests.support.builders import answer, claim_all, claim_one, kill_one, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
ENDED, DEAD = timedelta(days=14), timedelta(days=30)


def prune(database: Database, *, limit: int = 100) -> int:
    with database.begin() as conn:
        return retention.prune(conn, database, ended=ENDED, dead=DEAD, limit=limit)


def rows(database: Database) -> dict[str, int]:
    """The tables that are not empty, and how many rows they hold; strands hold nothing and are forgotten elsewhere, and
    a project is never forgotten."""
    with database.read() as conn:
        counts = {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count and name not in ("strands", "wakes", "projects")}


def known(database: Database) -> set[object]:
    with database.read() as conn:
        return set(conn.execute(select(tasks_table.c.id)).scalars())


def succeed(database: Database, **over: object) -> Task:
    task = submit_one(database, **over)
    settle_one(database, next(each for each in claim_all(database) if each.id == task.id), answer(200))
    return task


def the_letter(database: Database) -> DeadLetterId:
    with database.read() as conn:
        return dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).items[0].id


def test_an_ended_task_goes_with_all_its_history(database: Database, clock: Clock) -> None:
    succeed(database, labels=("a", "b"))
    clock.advance(days=13, hours=23)
    assert prune(database) == 0
    clock.advance(hours=2)
    assert prune(database) == 1
    assert rows(database) == {}


def test_a_task_that_ended_lately_is_kept_however_old_it_is(database: Database, clock: Clock) -> None:
    task = submit_one(database, delay=timedelta(days=100), expires_in=timedelta(days=200))
    clock.advance(days=101)
    settle_one(database, claim_one(database), answer(200))
    assert prune(database) == 0
    clock.advance(days=13)
    assert prune(database) == 0
    assert known(database) == {task.id}
    clock.advance(days=2)
    assert prune(database) == 1


def test_nothing_that_lives_is_touched(database: Database, clock: Clock) -> None:
    alive = {
        submit_one(database, delay=timedelta(days=999), expires_in=timedelta(days=2000)).id,
        submit_one(database, expires_in=timedelta(days=2000), ordering_key="a").id,
        submit_one(database, expires_in=timedelta(days=2000), ordering_key="a").id,
    }
    running = claim_one(database)
    cancelled = submit_one(database)
    claimed = claim_one(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", cancelled.id)
    clock.advance(days=500)
    assert prune(database) == 0
    assert known(database) == alive | {cancelled.id}
    assert {running.id, claimed.id} <= known(database)


def test_a_dead_task_is_kept_as_long_as_its_letter(database: Database, clock: Clock) -> None:
    dead = kill_one(database)
    clock.advance(days=29)
    assert prune(database) == 0
    assert known(database) == {dead.id}
    clock.advance(days=2)
    assert prune(database) == 2
    assert rows(database) == {}


def test_a_redriven_task_is_kept_while_it_lives(database: Database, clock: Clock) -> None:
    dead = kill_one(database, expires_in=timedelta(days=200))
    with database.begin() as conn:
        dead_letters.redrive(conn, database, "default", the_letter(database), Edits(body=b"new"))
    clock.advance(days=100)
    with database.begin() as conn:
        conn.execute(letters_table.delete())
    assert prune(database) == 0
    assert known(database) == {dead.id}
    settle_one(database, claim_one(database), answer(200))
    clock.advance(days=29)
    assert prune(database) == 0
    clock.advance(days=2)
    assert prune(database) == 1
    assert rows(database) == {}


def test_a_letter_is_kept_by_the_databases_clock_and_not_by_that_of_who_wrote_it(
    database: Database, clock: Clock
) -> None:
    kill_one(database)
    old = DeadLetterId(UUID("00000000-0000-7000-8000-000000000001"))  # minted by a worker that lives in 1970
    with database.begin() as conn:
        conn.execute(letters_table.update().values(id=old))
    assert prune(database) == 0
    clock.advance(days=31)
    assert prune(database) == 2


def test_keys_go_when_they_expire(database: Database, clock: Clock) -> None:
    submit(database, new_task(), key=IdempotencyKey("default", "short", b"x", timedelta(hours=1)))
    submit(database, new_task(), key=IdempotencyKey("default", "long", b"x", timedelta(hours=3)))
    clock.advance(hours=2)
    assert prune(database) == 1
    with database.read() as conn:
        assert conn.execute(select(idempotency_keys.c.key)).scalars().all() == ["long"]


def test_finished_operations_go_and_open_ones_stay(database: Database, clock: Clock) -> None:
    with database.begin() as conn:
        done = operations.start_redrive(conn, database, "default", DeadLetterFilter(), rate=None)
    with database.begin() as conn:
        operations.advance(conn, database)
        open_one = operations.start_redrive(conn, database, "default", DeadLetterFilter(), rate=0.001)
    clock.advance(days=15)
    assert prune(database) == 1
    with database.read() as conn:
        assert conn.execute(select(operations_table.c.id)).scalars().all() == [open_one.id]
    assert done.id != open_one.id


def test_what_is_old_goes_in_small_batches_the_oldest_first(database: Database, clock: Clock) -> None:
    ids = [task.id for task in submit(database, *(new_task(labels=("a",)) for _ in range(25))).tasks]
    settle_all(database, sorted(claim_all(database), key=lambda task: ids.index(task.id)), 200)  # a claim has no order
    clock.advance(days=15)
    assert prune(database, limit=10) == 10
    assert known(database) == set(ids[10:])
    assert [prune(database, limit=10) for _ in range(3)] == [10, 5, 0]
    assert rows(database) == {}


def test_a_removed_letter_leaves_its_task_until_it_would_have_gone_itself(database: Database, clock: Clock) -> None:
    dead = kill_one(database)
    with database.begin() as conn:
        dead_letters.remove(conn, database, "default", the_letter(database))
    clock.advance(days=29)
    assert prune(database) == 0
    assert known(database) == {dead.id}
    clock.advance(days=2)
    assert prune(database) == 1
    assert rows(database) == {}


def test_letters_that_go_before_their_tasks_do_leave_them(database: Database, clock: Clock) -> None:
    dead = kill_one(database)
    for days, gone, left in ((8, 1, {dead.id}), (7, 1, set())):
        clock.advance(days=days)
        with database.begin() as conn:
            assert retention.prune(conn, database, ended=ENDED, dead=timedelta(days=7)) == gone
        assert known(database) == left


def test_what_may_not_go_yet_does_not_hold_up_what_may(database: Database, clock: Clock) -> None:
    for _ in range(3):
        kill_one(database)
    done = [succeed(database).id for _ in range(3)]
    clock.advance(days=15)
    assert prune(database, limit=2) == 2
    assert prune(database, limit=2) == 1
    assert not known(database) & set(done)


def test_each_webhook_ages_on_its_own(database: Database, clock: Clock) -> None:
    task = succeed(database, webhook_url="https://caller.example/hook")
    clock.advance(days=15)
    assert prune(database) == 1
    assert task.id not in known(database)
    assert rows(database) == {"tasks": 1, "ready": 1}


def test_no_table_is_walked_to_find_or_to_delete_what_is_old(sqlite_url: str) -> None:
    clock = Clock()
    database = Database.open(sqlite_url, clock_offset=clock)
    made = one_of_each_kind(database)
    clock.advance(days=31)
    with database.begin() as conn:
        with plans.statements(conn) as seen:
            assert retention.prune(conn, database, ended=ENDED, dead=DEAD) == made
        walks = [f"{statement[0]}\n{found}" for statement in seen if "SCAN" in (found := plans.plan(conn, statement))]
    database.close()
    assert len(seen) == 18  # five to find, three to delete alone, twice five to delete tasks with their history
    assert walks == []


@pytest.mark.postgres
def test_nor_is_one_walked_on_postgresql_when_there_is_much(postgres_url: str) -> None:
    clock = Clock()
    database = Database.open(postgres_url, clock_offset=clock)
    made = one_of_each_kind(database)
    clock.advance(days=31)
    with database.begin() as conn:
        conn.exec_driver_sql("set local enable_seqscan = off")  # these tables are small: what would it do if not?
        with plans.statements(conn) as seen:
            assert retention.prune(conn, database, ended=ENDED, dead=DEAD) == made
        found = [plans.plan(conn, statement) for statement in seen]
    database.close()
    assert [each for each in found if "Seq Scan" in each] == []
    assert "ix_endings_never_died" in found[6]
    assert any("ix_task_labels_task" in each for each in found)


def one_of_each_kind(database: Database) -> int:
    """Something old of all that is pruned; return how many rows that is."""
    submit(database, new_task(), key=IdempotencyKey("default", "k", b"x", timedelta(hours=1)))
    settle_all(database, claim_all(database), 200)
    kill_one(database)
    with database.begin() as conn:
        operations.start_redrive(conn, database, "default", DeadLetterFilter(queue="none"), rate=None)
    with database.begin() as conn:
        operations.advance(conn, database)
    return 5  # a key, a task, a dead one and its letter, an operation
