"""Dead letters by what killed them: how many died of the same, and since when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.core.errors import InvalidTask
from taskqueue.store import dead_letters, search
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter, Group
from taskqueue.store.search import Page
from tests.store.pages import every_page
from tests.support.builders import answer, claim_one, kill_one, settle_one, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")


def groups(
    database: Database, wanted: DeadLetterFilter | None = None, *, cursor: str | None = None, limit: int = 50
) -> Page[Group]:
    with database.read() as conn:
        return dead_letters.groups(conn, "default", wanted or DeadLetterFilter(), cursor=cursor, limit=limit)


def kill(database: Database, status: int, **over: object) -> None:
    submit_one(database, retries=0, **over)
    settle_one(database, claim_one(database), answer(status))


def test_what_died_of_the_same_is_counted_together_the_most_frequent_first(database: Database, clock: Clock) -> None:
    for status in (400, 404, 400, 500, 404, 400):
        kill(database, status)
        clock.advance(hours=1)
    found = groups(database)
    assert [(group.example.cls, group.count) for group in found.items] == [
        ("bad_request", 3),
        ("not_found", 2),
        ("server_error", 1),
    ]
    assert found.next_cursor is None
    first, second, third = found.items
    assert timedelta(hours=5) <= first.newest - first.oldest < timedelta(hours=5, minutes=1)
    assert (third.newest, third.example.died_at) == (third.oldest, third.newest)
    with database.read() as conn:
        letters = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=9).items
    assert (first.example.id, second.example.id) == (letters[0].id, letters[1].id)
    assert first.example.task.last_attempt is not None
    assert first.example.task.last_attempt.outcome.error_message == "the target answered 400"
    assert (first.fingerprint, first.example.task.spec.body) == (letters[0].fingerprint, None)


def test_the_same_failure_of_another_target_is_another_group(database: Database) -> None:
    kill_one(database)
    kill_one(database, target_url="https://target.example/other")
    kill_one(database, target_url="https://target.example/work?page=2")
    assert sorted(group.count for group in groups(database).items) == [1, 2]


def test_what_was_redriven_is_counted_only_on_request(database: Database) -> None:
    kill_one(database)
    kill_one(database)
    with database.begin() as conn:
        letter = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).items[0]
        dead_letters.redrive(conn, database, "default", letter.id)
    (some,) = groups(database).items
    (every,) = groups(database, DeadLetterFilter(include_redriven=True)).items
    assert (some.count, every.count) == (1, 2)
    assert (some.example.id, every.example.id) != (letter.id, some.example.id)
    assert every.example.id == letter.id


def test_groups_are_counted_among_those_that_fit(database: Database) -> None:
    kill(database, 400, queue="a", labels=("x",))
    kill(database, 400, queue="b")
    kill(database, 404, queue="a")
    (one,) = groups(database, DeadLetterFilter(cls="bad_request", queue="a")).items
    assert (one.count, one.example.task.spec.queue) == (1, "a")
    (labelled,) = groups(database, DeadLetterFilter(label="x")).items
    assert (labelled.count, labelled.oldest) == (1, labelled.newest)
    assert groups(database, DeadLetterFilter(queue="c")).items == []


def test_a_project_sees_its_own_groups(database: Database) -> None:
    kill(database, 400, project="acme")
    assert groups(database).items == []


def test_groups_come_in_pages(database: Database) -> None:
    for status, times in ((400, 2), (404, 2), (410, 2), (401, 1), (413, 3)):
        for _ in range(times):
            kill(database, status)
    whole = groups(database).items
    pages = every_page(lambda cursor: groups(database, cursor=cursor, limit=2))
    assert pages == [whole[:2], whole[2:4], whole[4:]]
    assert [group.count for group in whole] == [3, 2, 2, 2, 1]
    assert groups(database, limit=5).next_cursor is None


def test_a_cursor_of_groups_that_is_none_of_ours_is_named(database: Database) -> None:
    for _ in range(2):
        kill_one(database)
        kill(database, 404)
    ours = groups(database, limit=1).next_cursor
    assert ours is not None
    with database.read() as conn:
        (letters, theirs) = (
            dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).next_cursor,
            dead_letters.groups(conn, "default", DeadLetterFilter(), cursor=None, limit=1).next_cursor,
        )
        with pytest.raises(InvalidTask, match="/cursor"):
            dead_letters.search(conn, "default", DeadLetterFilter(), cursor=theirs, limit=1)
        with pytest.raises(InvalidTask, match="/cursor"):
            dead_letters.groups(conn, "other", DeadLetterFilter(), cursor=ours, limit=1)
        for cursor in (letters, "", "x", "AAAA", "ä", seal(b"1" * 19 + b" a"), seal(b"x a"), seal(b"1 "), seal(b"1 '")):
            with pytest.raises(InvalidTask, match="/cursor"):
                dead_letters.groups(conn, "default", DeadLetterFilter(), cursor=cursor, limit=1)


def seal(place: bytes) -> str:
    return search.seal(place, "default")
