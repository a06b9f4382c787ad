"""Dead letters: kept with everything, found by every mark, and brought back once each, edited or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from taskqueue.core.errors import Conflict, InvalidTask
from taskqueue.core.lifecycle import expire
from taskqueue.core.outcome import Partial, Phase, failed
from taskqueue.core.reason import DeadReason
from taskqueue.core.target import parse_target
from taskqueue.core.task import DEFAULT_EXPIRY, DeadLetterId, FollowUp, Kind, Task, TaskState
from taskqueue.store import dead_letters, leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetter, DeadLetterFilter, Edits
from tests.store import plans
from tests.store.invariants import faults
from tests.store.pages import every_page
from tests.store.threads import at_once
from tests.support.builders import answer, claim_all, claim_one, kill_one, look_up, new_task, settle_one, submit_one
from tests.support.clock import Clock

ALL = DeadLetterFilter()
HOUR = timedelta(hours=1)


def search(database: Database, project: str = "default", **wanted: object) -> list[DeadLetter]:
    with database.read() as conn:
        return dead_letters.search(conn, project, DeadLetterFilter(**wanted), cursor=None, limit=100).items  # type: ignore[arg-type]


def get(database: Database, letter: DeadLetter) -> DeadLetter | None:
    with database.read() as conn:
        return dead_letters.get(conn, letter.project, letter.id)


def redrive(
    database: Database, letter_id: DeadLetterId, edits: Edits | None = None, *, project: str = "default"
) -> Task | None:
    with database.begin() as conn:
        return dead_letters.redrive(conn, database, project, letter_id, edits)


def ids(letters: list[DeadLetter]) -> list[object]:
    return [letter.task.id for letter in letters]


def test_a_letter_keeps_the_task_as_it_died(database: Database, clock: Clock) -> None:
    headers = (("Authorization", "Bearer s3cret"),)
    task = submit_one(database, headers=headers, body=b"\x00\xff", labels=("a",), metadata=b"{}", retries=1)
    settle_one(database, claim_one(database), failed("timeout", "Deadline", "cut", phase=Phase.SENT))
    clock.advance(minutes=1)
    settle_one(database, claim_one(database), answer(500))
    (listed,) = search(database)
    letter = get(database, listed)
    assert letter is not None
    assert listed == replace(letter, task=replace(letter.task, spec=replace(letter.task.spec, body=None)))
    assert letter.task == look_up(database, task.id)
    assert letter.task.spec == task.spec
    assert (letter.reason, letter.cls, letter.generation) == (DeadReason.EXHAUSTED, "server_error", 1)
    assert letter.worst_partial is Partial.LIKELY  # of the first attempt
    assert letter.redriven_at is None
    assert letter.task.ending is not None
    assert letter.died_at == letter.task.ending.finished_at
    assert letter.task.last_attempt is not None
    assert letter.task.last_attempt.number == 2


def test_what_did_not_die_has_no_letter(database: Database) -> None:
    submit_one(database)
    settle_one(database, claim_one(database), answer(200))
    task = submit_one(database)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", task.id)
    assert search(database) == []


def test_each_death_has_a_letter_that_shows_its_own_end(database: Database) -> None:
    task = kill_one(database, body=b"first")
    (first,) = search(database)
    redrive(database, first.id, Edits(body=b"second", content_type=None))
    settle_one(database, claim_one(database), answer(404))
    second, old = (get(database, each) for each in search(database, include_redriven=True))
    assert second is not None
    assert old is not None
    assert (old.id, old.generation, old.task.spec.body, old.cls) == (first.id, 1, b"first", "bad_request")
    assert (second.generation, second.task.spec.body, second.cls) == (2, b"second", "not_found")
    assert old.redriven_at is not None
    assert old.task.last_attempt is not None
    assert old.task.last_attempt.outcome.cls.name == "bad_request"
    assert ids(search(database)) == [task.id]
    assert faults(database) == []


def test_every_condition_finds_its_own(database: Database, clock: Clock) -> None:
    plain = kill_one(database)
    clock.advance(hours=1)
    with database.read() as conn:
        moment = database.now(conn)
    other = kill_one(
        database, queue="mail", target_url="https://other.example/x", target_host="other.example", labels=("red",)
    )
    lost = submit_one(database, retries=0)
    settle_one(database, claim_one(database), answer(503))
    expired = submit_one(database, expires_in=timedelta(seconds=1))
    clock.advance(seconds=2)
    with database.begin() as conn:
        found = leases.expired(conn, database, limit=10)
        leases.settle(conn, database, [expire(task, now=database.now(conn)) for task in found])
    everything = [expired.id, lost.id, other.id, plain.id]
    assert ids(search(database)) == everything
    assert ids(search(database, queue="mail")) == [other.id]
    assert ids(search(database, cls="bad_request")) == [other.id, plain.id]
    assert ids(search(database, reason="exhausted")) == [lost.id]
    assert ids(search(database, reason="expired")) == [expired.id]
    assert ids(search(database, target_host="other.example")) == [other.id]
    assert ids(search(database, label="red")) == [other.id]
    assert ids(search(database, before=moment)) == [plain.id]
    assert ids(search(database, after=moment)) == everything[:3]
    (mark,) = {letter.fingerprint for letter in search(database, queue="mail")}
    assert ids(search(database, fingerprint=mark)) == [other.id]
    assert search(database, queue="mail", cls="not_found") == []
    assert search(database, label="blue") == []
    with database.read() as conn:
        assert dead_letters.count(conn, "default", ALL) == 4
        assert dead_letters.count(conn, "default", DeadLetterFilter(cls="bad_request", before=moment)) == 1


def test_the_deaths_of_one_task_and_of_one_kind_are_found(database: Database) -> None:
    dead = kill_one(database, webhook_url="https://caller.example/hook")
    (hook,) = claim_all(database)
    settle_one(database, hook, answer(410))
    other = kill_one(database)
    (first,) = search(database, task_id=dead.id)
    assert redrive(database, first.id) is not None
    settle_one(database, claim_one(database), answer(404))
    deaths = search(database, task_id=dead.id, include_redriven=True)
    assert [letter.generation for letter in deaths] == [2, 1]
    assert ids(search(database, kind=Kind.TASK)) == [dead.id, other.id]
    assert ids(search(database, kind=Kind.WEBHOOK)) == [hook.id]
    assert search(database, task_id=other.id, kind=Kind.WEBHOOK) == []


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "ix_dead_letters_open"),
        ({"include_redriven": True}, "ix_dead_letters_newest"),
        ({"task_id": uuid4()}, "ix_dead_letters_task"),
        ({"kind": Kind.WEBHOOK}, "ix_dead_letters_kind"),
        ({"queue": "mail"}, "ix_dead_letters_queue"),
        ({"cls": "timeout"}, "ix_dead_letters_class"),
        ({"reason": "lost"}, "ix_dead_letters_reason"),
        ({"target_host": "x"}, "ix_dead_letters_target_host"),
        ({"fingerprint": "x"}, "ix_dead_letters_fingerprint"),
    ],
)
def test_each_condition_is_looked_up_in_an_index_of_its_own(
    sqlite_url: str, wanted: dict[str, object], index: str
) -> None:
    database = Database.open(sqlite_url)
    with database.read() as conn:
        with plans.statements(conn) as seen:
            dead_letters.search(conn, "default", DeadLetterFilter(**wanted), cursor=None, limit=50)  # type: ignore[arg-type]
        (plan,) = [plans.plan(conn, statement) for statement in seen]
    database.close()
    assert index in plan.splitlines()[0]


def test_pages_lead_from_the_newest_to_the_oldest(database: Database) -> None:
    newest = [kill_one(database).id for _ in range(7)][::-1]
    with database.read() as conn:
        pages = every_page(lambda cursor: dead_letters.search(conn, "default", ALL, cursor=cursor, limit=3))
    assert [ids(page) for page in pages] == [newest[:3], newest[3:6], newest[6:]]


def test_a_page_stays_where_it_was_while_others_die(database: Database) -> None:
    dead = [kill_one(database).id for _ in range(4)]
    with database.read() as conn:
        first = dead_letters.search(conn, "default", ALL, cursor=None, limit=2)
    kill_one(database)
    with database.read() as conn:
        second = dead_letters.search(conn, "default", ALL, cursor=first.next_cursor, limit=2)
    assert ids(first.items) + ids(second.items) == dead[::-1]


def test_a_cursor_that_is_none_of_ours_is_named(database: Database) -> None:
    for cursor in ("", "x", "AAAA", "ä", "!" * 30):
        with database.read() as conn, pytest.raises(InvalidTask, match="/cursor"):
            dead_letters.search(conn, "default", ALL, cursor=cursor, limit=2)


def test_a_redriven_task_starts_over_with_as_much_life_as_it_had(database: Database, clock: Clock) -> None:
    dead = kill_one(database, expires_in=HOUR)
    clock.advance(days=3)
    (letter,) = search(database)
    task = redrive(database, letter.id)
    assert task is not None
    assert task == look_up(database, dead.id)
    assert (task.state, task.progress.generation, task.progress.number) == (TaskState.QUEUED, 2, 0)
    assert task.progress.seq == dead.progress.seq + 1
    assert task.not_before is not None
    assert task.expires_at == task.not_before + HOUR
    assert claim_one(database).progress.number == 1
    assert faults(database) == []


def test_each_redrive_gives_as_much_life_as_there_was_at_first(database: Database, clock: Clock) -> None:
    kill_one(database, expires_in=HOUR)
    for _ in range(2):
        clock.advance(hours=3)
        (letter,) = search(database)
        task = redrive(database, letter.id)
        assert task is not None
        assert task.not_before is not None
        assert task.expires_at == task.not_before + HOUR
        settle_one(database, claim_one(database), answer(404))
        assert look_up(database, task.id).expires_at == task.expires_at


def test_a_task_that_was_to_expire_before_it_ran_lives_long_enough_when_redriven(
    database: Database, clock: Clock
) -> None:
    submit_one(database, delay=timedelta(days=1), expires_in=HOUR)
    clock.advance(hours=2)
    with database.begin() as conn:
        found = leases.expired(conn, database, limit=10)
        leases.settle(conn, database, [expire(task, now=database.now(conn)) for task in found])
    (letter,) = search(database)
    task = redrive(database, letter.id)
    assert task is not None
    assert task.not_before is not None
    assert task.expires_at == task.not_before + DEFAULT_EXPIRY
    assert claim_one(database).id == task.id


def test_a_redrive_never_shortens_a_life(database: Database) -> None:
    dead = kill_one(database, expires_in=10 * HOUR)
    (letter,) = search(database)
    task = redrive(database, letter.id)
    assert task is not None
    assert task.expires_at >= dead.expires_at


def test_a_second_redrive_is_a_conflict(database: Database) -> None:
    kill_one(database)
    (letter,) = search(database)
    redrive(database, letter.id)
    for _ in range(2):
        with pytest.raises(Conflict, match="redriven before"):
            redrive(database, letter.id)
    settle_one(database, claim_one(database), answer(200))
    with pytest.raises(Conflict, match="redriven before"):
        redrive(database, letter.id)


def test_of_redrives_at_once_one_wins(database: Database, other: Database) -> None:
    for _ in range(5):
        dead = kill_one(database)
        (letter,) = search(database)
        answered = at_once([partial(redrive, store, letter.id) for store in (database, other) * 2])
        assert sum(isinstance(each, Task) for each in answered) == 1, answered
        assert sum(isinstance(each, Conflict) for each in answered) == 3, answered
        assert look_up(database, dead.id).progress.generation == 2
        settle_one(database, claim_one(database), answer(200))
    assert faults(database) == []


def test_an_unknown_letter_is_none(database: Database) -> None:
    nobody = DeadLetterId(uuid4())
    assert redrive(database, nobody) is None
    with database.begin() as conn:
        assert dead_letters.get(conn, "default", nobody) is None
        assert not dead_letters.remove(conn, database, "default", nobody)


def test_every_edit_changes_its_part_and_no_other(database: Database) -> None:
    edits = {
        "target": Edits(target=parse_target("https://new.example:8443/path?x=1")),
        "body": Edits(body=b"", content_type="text/plain"),
        "headers": Edits(headers=(("X-New", "1"),)),
        "no_headers": Edits(headers=()),
        "timeout": Edits(timeout=timedelta(seconds=1.5)),
        "retries": Edits(retries=0),
    }
    changed = {
        "target": {
            "target_url": "https://new.example:8443/path?x=1",
            "origin": "https://new.example:8443",
            "target_host": "new.example",
        },
        "body": {"body": b"", "content_type": "text/plain"},
        "headers": {"headers": (("X-New", "1"),)},
        "no_headers": {"headers": ()},
        "timeout": {"timeout": timedelta(seconds=1.5)},
        "retries": {"retries": 0},
    }
    for name, edit in edits.items():
        dead = kill_one(database, headers=(("X-Old", "0"),), labels=("a",), webhook_url="https://caller.example/hook")
        letter = next(each for each in search(database) if each.task.id == dead.id)
        task = redrive(database, letter.id, edit)
        assert task is not None
        assert task.spec == replace(dead.spec, **changed[name]), name
        assert look_up(database, dead.id).spec == task.spec
        claimed = next(each for each in claim_all(database) if each.id == dead.id)
        assert claimed.spec == task.spec
    assert faults(database) == []


def test_edits_add_up_from_redrive_to_redrive(database: Database) -> None:
    kill_one(database, body=b"one")
    for edit in (Edits(body=b"two", content_type="text/plain"), None, Edits(timeout=timedelta(seconds=9)), None):
        (letter,) = search(database)
        redrive(database, letter.id, edit)
        task = claim_one(database)
        settle_one(database, task, answer(400))
    assert (task.spec.body, task.spec.timeout, task.progress.generation) == (b"two", timedelta(seconds=9), 5)


def test_a_dead_webhook_is_redriven_like_any_task(database: Database) -> None:
    kill_one(database, webhook_url="https://caller.example/hook")
    hook = claim_one(database)
    settle_one(database, hook, answer(410))
    letter = next(each for each in search(database) if each.task.spec.kind is Kind.WEBHOOK)
    redrive(database, letter.id)
    again = claim_one(database)
    assert (again.id, again.spec, again.progress.generation) == (hook.id, hook.spec, 2)
    settle_one(database, again, answer(200))
    assert faults(database) == []


def test_each_generation_is_told_of_once(database: Database) -> None:
    dead = kill_one(database, webhook_url="https://caller.example/hook")
    for _ in range(2):
        letter = next(each for each in search(database) if each.task.id == dead.id)
        redrive(database, letter.id)
        task = next(each for each in claim_all(database) if each.id == dead.id)
        settle_one(database, task, answer(400))
    with database.read() as conn:
        hooks = tasks.webhooks(conn, "default", dead.id)
    assert [hook.spec.cause.generation for hook in hooks if hook.spec.cause] == [1, 2, 3]
    assert faults(database) == []


def test_a_removed_letter_is_forgotten_and_its_task_is_not(database: Database) -> None:
    dead = kill_one(database)
    (letter,) = search(database)
    with database.begin() as conn:
        assert dead_letters.remove(conn, database, "default", letter.id)
        assert not dead_letters.remove(conn, database, "default", letter.id)
    assert get(database, letter) is None
    assert redrive(database, letter.id) is None
    assert look_up(database, dead.id).state is TaskState.DEAD


def test_a_compensated_death_is_redriven_only_when_forced(database: Database) -> None:
    dead = kill_one(database, on_failure=FollowUp(task=new_task(delay=timedelta(hours=1))))
    (letter,) = search(database)
    assert letter.compensation_id is not None
    with database.begin() as conn, pytest.raises(Conflict, match=f'{letter.compensation_id}.*"force": true'):
        dead_letters.redrive(conn, database, "default", letter.id)
    assert look_up(database, dead.id).state is TaskState.DEAD
    with database.begin() as conn:
        again = dead_letters.redrive(conn, database, "default", letter.id, force=True)
    assert again is not None
    assert again.state is TaskState.QUEUED
    for force in (False, True):
        with database.begin() as conn, pytest.raises(Conflict, match="redriven before"):
            dead_letters.redrive(conn, database, "default", letter.id, force=force)
