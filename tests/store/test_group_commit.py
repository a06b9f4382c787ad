"""Group commit: each caller has an answer after its own commit, or 503 in time, whatever becomes of the others."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select

from taskqueue.core.errors import KeyReused, StoreUnavailable
from taskqueue.core.task import NewTask
from taskqueue.store import submissions
from taskqueue.store.database import Database
from taskqueue.store.group_commit import MAX_TASKS, GroupCommit
from taskqueue.store.schema import tasks
from taskqueue.store.submissions import IdempotencyKey, Receipt, Submission
from tests.store.threads import at_once, results, wait_inside
from tests.support.builders import new_task
from tests.support.databases import PATIENCE

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
def committer(database: Database) -> Iterator[GroupCommit]:
    opened = GroupCommit(database, wait=PATIENCE)
    yield opened
    opened.close()


def one(**over: object) -> Submission:
    return Submission((new_task(**over),))


def keyed(name: str, body: bytes = b"x") -> Submission:
    return Submission((new_task(),), key=IdempotencyKey("default", name, body))


def count(database: Database) -> int:
    with database.read() as conn:
        return conn.execute(select(func.count()).select_from(tasks)).scalar_one()


@contextmanager
def held_up(database: Database) -> Iterator[None]:
    """Nobody else can commit a submit in the lane ``busy``; on SQLite, nobody can commit at all."""
    with database.begin() as conn:
        submissions.submit(conn, database, [one(ordering_key="busy")])
        yield


def in_threads(calls: list[partial[Receipt]]) -> tuple[list[threading.Thread], list[Receipt | Exception]]:
    """The calls under way, and where their answers will be."""
    answers: list[Receipt | Exception] = []

    def run(call: partial[Receipt]) -> None:
        try:
            answers.append(call())
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    wait_inside(GroupCommit.submit, threads)
    return threads, answers


def test_a_receipt_comes_after_the_commit(committer: GroupCommit, other: Database) -> None:
    receipt = committer.submit(one())
    with other.read() as conn:
        assert conn.execute(select(tasks.c.id)).scalars().all() == [receipt.tasks[0].id]


def test_many_callers_each_get_their_own_task(database: Database, committer: GroupCommit) -> None:
    def submit(number: int) -> Receipt:
        return committer.submit(one(body=b"%d" % number))

    receipts = results(at_once([partial(submit, number) for number in range(60)]))
    assert [receipt.tasks[0].spec.body for receipt in receipts] == [b"%d" % number for number in range(60)]
    assert len({receipt.tasks[0].id for receipt in receipts}) == count(database) == 60


def test_callers_that_wait_together_are_committed_together(
    database: Database, committer: GroupCommit, other: Database
) -> None:
    with held_up(other):
        first, answers = in_threads([partial(committer.submit, one(ordering_key="busy"))])
        rest, more = in_threads([partial(committer.submit, one()) for _ in range(20)])
        assert (answers, more) == ([], [])
    for thread in first + rest:
        thread.join()
    moments = {receipt.tasks[0].created_at for receipt in answers + more if isinstance(receipt, Receipt)}
    assert len(answers + more) == 21
    assert len(moments) == 2


def test_a_batch_larger_than_a_group_is_committed_whole(database: Database, committer: GroupCommit) -> None:
    receipt = committer.submit(Submission(tuple(new_task() for _ in range(MAX_TASKS + 1))))
    assert len(receipt.tasks) == count(database) == MAX_TASKS + 1


def test_one_poisoned_row_does_not_fail_its_neighbours(
    database: Database, committer: GroupCommit, other: Database
) -> None:
    poison: NewTask = new_task(priority=12)
    with held_up(other):
        first, _ = in_threads([partial(committer.submit, one(ordering_key="busy"))])
        group = [one(), Submission((poison,)), one(), Submission((new_task(), poison)), keyed("a"), keyed("a")]
        threads, answers = in_threads([partial(committer.submit, each) for each in group])
    for thread in first + threads:
        thread.join()
    receipts = [each for each in answers if isinstance(each, Receipt)]
    errors = [each for each in answers if isinstance(each, Exception)]
    assert len(receipts) == 4
    assert all("check" in str(error).lower() for error in errors)
    assert len(errors) == 2
    assert count(database) == 5


def test_a_reused_key_is_refused_alone(database: Database, committer: GroupCommit) -> None:
    committer.submit(keyed("a"))
    calls = [partial(committer.submit, each) for each in (one(), keyed("a", b"y"), keyed("a"), one())]
    first, refused, replayed, last = at_once(calls)
    assert isinstance(refused, KeyReused)
    assert isinstance(replayed, Receipt)
    assert replayed.replayed
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)


def test_two_processes_with_one_key_need_no_second_call(
    database: Database, committer: GroupCommit, other: Database
) -> None:
    second = GroupCommit(other, wait=PATIENCE)
    for turn in range(10):
        same = keyed(f"key-{turn}")
        receipts = results(at_once([partial(each.submit, same) for each in (committer, second) * 4]))
        assert len({receipt.tasks[0].id for receipt in receipts}) == 1
    assert count(database) == 10
    second.close()


def test_a_database_that_is_away_is_a_503_in_time() -> None:
    away = Database.open("postgresql://nobody@127.0.0.1:1/none")
    committer = GroupCommit(away)
    began = time.monotonic()
    answered = at_once([partial(committer.submit, one()) for _ in range(5)])
    assert time.monotonic() - began < 10  # two seconds, and a machine that has more to do
    assert all(isinstance(each, StoreUnavailable) for each in answered), answered
    committer.close()
    away.close()


def test_a_database_that_is_busy_for_too_long_is_a_503_in_time(database: Database, other: Database) -> None:
    committer = GroupCommit(database)
    with held_up(other):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            committer.submit(one(ordering_key="busy"))
        assert 1 < time.monotonic() - began < 10
    committer.close()


def test_what_a_caller_left_behind_is_not_committed(database: Database, other: Database) -> None:
    committer = GroupCommit(database, wait=timedelta(seconds=0.3))
    with held_up(other):
        threads, answers = in_threads([partial(committer.submit, one(ordering_key="busy"))])
        more, left = in_threads([partial(committer.submit, one()) for _ in range(5)])
        for thread in threads + more:
            thread.join()
    assert all(isinstance(each, StoreUnavailable) for each in answers + left), answers + left
    committer.close()
    # The task that held everything up, and perhaps the one that was in the database's hands already.
    assert count(database) <= 2


def test_what_waits_for_its_turn_is_dropped_when_its_caller_leaves(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    committer = GroupCommit(database, wait=timedelta(seconds=0.2))
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("begin immediate")
    with pytest.raises(StoreUnavailable):
        committer.submit(one())
    holder.execute("rollback")
    committer.close()
    assert count(database) == 0
    holder.close()
    database.close()


def test_an_outage_that_passes_in_time_is_not_noticed(
    database: Database, committer: GroupCommit, other: Database
) -> None:
    with held_up(other):
        threads, answers = in_threads([partial(committer.submit, one(ordering_key="busy"))])
        time.sleep(0.6)
    threads[0].join()
    assert isinstance(answers[0], Receipt)


def test_closing_commits_what_was_handed_in_and_refuses_the_rest(database: Database, other: Database) -> None:
    committer = GroupCommit(database, wait=PATIENCE)
    with held_up(other):
        threads, answers = in_threads([partial(committer.submit, one(ordering_key="busy"))])
        more, rest = in_threads([partial(committer.submit, one()) for _ in range(10)])
        closing = threading.Thread(target=committer.close)
        closing.start()
        wait_inside(GroupCommit.close, [closing])
        with pytest.raises(StoreUnavailable, match="shutting down") as raised:
            committer.submit(one())
        assert raised.value.rolled_back
    for thread in (*threads, *more, closing):
        thread.join()
    assert all(isinstance(each, Receipt) for each in answers + rest), answers + rest
    assert count(database) == 12


def test_closing_while_callers_come_in_loses_none_that_got_a_receipt(database: Database) -> None:
    committer = GroupCommit(database, wait=timedelta(seconds=1))

    def submit_until_refused() -> int:
        accepted = 0
        while True:
            try:
                committer.submit(one())
            except StoreUnavailable:
                return accepted
            accepted += 1

    threading.Timer(0.3, committer.close).start()
    accepted = sum(results(at_once([submit_until_refused] * 8)))
    assert accepted <= count(database) <= accepted + 8
