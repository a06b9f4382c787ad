"""No verb of the store sees or touches anything of another project (promise A22)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from taskqueue.core.lifecycle import cancel, decide, expire
from taskqueue.core.task import Lease, LeaseToken, Task, TaskId, TaskState
from taskqueue.core.terms import Limits
from taskqueue.store import dead_letters, leases, loading, operations, search, secrets, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetter, DeadLetterFilter
from taskqueue.store.schema import metadata
from taskqueue.store.search import TaskFilter
from tests.store.invariants import faults
from tests.support.builders import answer, claim_one, kill_one, look_up, settle_one, submit_one

OURS, THEIRS = "default", "theirs"
ALL = DeadLetterFilter(include_redriven=True)


@pytest.fixture
def running(database: Database) -> Task:
    submit_one(database, labels=("a",), ordering_key="k")
    return claim_one(database)


@pytest.fixture
def letter(database: Database) -> DeadLetter:
    kill_one(database, labels=("a",), webhook_url="https://caller.example/hook")
    with database.read() as conn:
        return dead_letters.search(conn, OURS, ALL, cursor=None, limit=1).items[0]


def moved(task: Task) -> Task:
    """The same task, as somebody would have it who guessed everything but the project."""
    lease = task.lease and replace(task.lease, project=THEIRS)
    return replace(task, spec=replace(task.spec, project=THEIRS), lease=lease)


def lease_of(task: Task) -> Lease:
    assert task.lease is not None
    return task.lease


def picture(database: Database) -> dict[str, list[object]]:
    """Every row of every table."""
    with database.read() as conn:
        return {
            table.name: sorted(repr(tuple(row)) for row in conn.execute(select(table)))
            for table in metadata.sorted_tables
        }


def test_nothing_of_ours_can_be_looked_at(database: Database, running: Task, letter: DeadLetter) -> None:
    dead = letter.task
    with database.begin() as conn:
        operation = operations.start_redrive(conn, database, OURS, DeadLetterFilter(label="nobody"), rate=None)
        secrets.ensure(conn, database, OURS)
    with database.read() as conn:
        now = database.now(conn)
        for task in (running, dead):
            assert tasks.get(conn, THEIRS, task.id) is None
            assert tasks.attempts(conn, THEIRS, task.id) == []
            assert tasks.webhooks(conn, THEIRS, task.id) == []
            assert loading.load(conn, THEIRS, [task.id]) == {}
            assert loading.at_generation(conn, THEIRS, [task.id], 1, with_body=True) == {}
            assert loading.as_sent(conn, THEIRS, [task]) == {}
        for wanted in (TaskFilter(kind=None), TaskFilter(label="a"), TaskFilter(outcome="bad_request")):
            assert search.search(conn, THEIRS, wanted, cursor=None, limit=9, now=now).items == []
        for name in (*search.LIVING, *search.ENDED):
            wanted = TaskFilter(status=name, kind=None)
            assert search.search(conn, THEIRS, wanted, cursor=None, limit=9, now=now).items == []
        assert dead_letters.search(conn, THEIRS, ALL, cursor=None, limit=9).items == []
        assert dead_letters.get(conn, THEIRS, letter.id) is None
        assert dead_letters.count(conn, THEIRS, ALL) == 0
        assert operations.get(conn, THEIRS, operation.id) is None
        assert secrets.current(conn, THEIRS) == ()


def test_nothing_of_ours_can_be_changed(database: Database, running: Task, letter: DeadLetter) -> None:
    waiting = submit_one(database, delay=timedelta(hours=1))
    before = picture(database)
    foreign = lease_of(moved(running))
    with database.begin() as conn:
        now = database.now(conn)
        for task in (running, waiting, letter.task):
            assert tasks.cancel(conn, database, THEIRS, task.id) is None
            assert tasks.run_now(conn, database, THEIRS, task.id) is None
        assert leases.extend(conn, database, [foreign], lease=timedelta(hours=1)) == {foreign}
        leases.let_go(conn, database, [foreign])
        settlements = [
            decide(moved(running), answer(200), now=now, jitter=0.5, limits=Limits()),
            expire(moved(waiting), now=now),
        ]
        assert leases.settle(conn, database, settlements) == {running.id, waiting.id}
        assert leases.settle(conn, database, [cancel(moved(waiting), now=now)]) == {waiting.id}
        assert dead_letters.redrive(conn, database, THEIRS, letter.id) is None
        assert not dead_letters.remove(conn, database, THEIRS, letter.id)
    assert picture(database) == before


def test_a_tombstone_of_ours_stands_until_we_let_go(database: Database, running: Task) -> None:
    with database.begin() as conn:
        tasks.cancel(conn, database, OURS, running.id)
    before = picture(database)
    with database.begin() as conn:
        leases.let_go(conn, database, [lease_of(moved(running))])
    assert picture(database) == before


def test_a_bulk_redrive_of_theirs_passes_our_letters_over(database: Database, letter: DeadLetter) -> None:
    with database.begin() as conn:
        operation = operations.start_redrive(conn, database, THEIRS, DeadLetterFilter(), rate=None)
    assert operation.matched == 0
    with database.begin() as conn:
        assert operations.advance(conn, database) == 0
    assert look_up(database, letter.task.id).state is TaskState.DEAD


def test_a_claim_takes_every_projects_work_and_says_whose_it_is(database: Database) -> None:
    submit_one(database, project=THEIRS)
    task = claim_one(database)
    assert (task.spec.project, lease_of(task).project) == (THEIRS, THEIRS)
    assert settle_one(database, task, answer(200))
    assert look_up(database, task.id, project=THEIRS).state is TaskState.SUCCEEDED
    assert faults(database) == []


def test_a_guessed_token_opens_nothing(database: Database, running: Task) -> None:
    guess = replace(lease_of(running), token=LeaseToken(running.id))
    with database.begin() as conn:
        assert leases.extend(conn, database, [guess], lease=timedelta(hours=1)) == {guess}
        settlement = decide(
            replace(running, lease=guess), answer(200), now=database.now(conn), jitter=0.5, limits=Limits()
        )
        assert leases.settle(conn, database, [settlement]) == {running.id}
    assert look_up(database, running.id).lease == running.lease


def test_every_table_belongs_to_projects() -> None:
    for table in metadata.sorted_tables:
        assert "project" in table.columns, table.name
        for index in table.indexes:
            assert "project" in [column.name for column in index.columns], index.name


def test_an_unknown_id_and_a_foreign_one_look_alike(database: Database, running: Task) -> None:
    with database.read() as conn:
        nobody = TaskId(lease_of(running).token)
        assert tasks.ended(conn, [(THEIRS, running.id), (THEIRS, nobody)]) == {running.id, nobody}
        assert conn.execute(select(func.count()).select_from(metadata.tables["ready"])).scalar() == 1
