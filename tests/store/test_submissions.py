"""Submit: all or nothing, once per idempotency key whatever the race, and exactly what was asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import func, select

from taskqueue.core.errors import KeyReused, StoreUnavailable
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import DEFAULT_EXPIRY, Kind, NewTask, Task, TaskState, WebhookEvent
from taskqueue.store import retention, submissions
from taskqueue.store.database import Database
from taskqueue.store.schema import idempotency_keys, ready, task_labels, tasks
from taskqueue.store.submissions import IdempotencyKey, Receipt, Submission
from tests.store.threads import at_once
from tests.support.builders import answer, claim_one, look_up, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
BODY, OTHER_BODY = b"hash of a body", b"hash of another"
YEAR = timedelta(days=365)


def key(name: str = "key-1", *, body: bytes = BODY, project: str = "default", hours: float = 24) -> IdempotencyKey:
    return IdempotencyKey(project, name, body, timedelta(hours=hours))


def submit_group(database: Database, *group: Submission) -> list[Receipt | KeyReused]:
    with database.begin() as conn:
        return submissions.submit(conn, database, group)


def receipt_of(answered: Receipt | KeyReused) -> Receipt:
    assert isinstance(answered, Receipt)
    return answered


def count(database: Database) -> tuple[int, int, int, int]:
    """Rows of tasks, ready, labels and keys."""
    with database.read() as conn:
        tables = (tasks, ready, task_labels, idempotency_keys)
        found = [conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]
    return found[0], found[1], found[2], found[3]


def keyed(database: Database, *, body: bytes = BODY, attempts: int = 50) -> Receipt:
    """Submit under the one key, again while another process is at it, as the service does."""
    for _ in range(attempts):
        try:
            return submit(database, new_task(), key=key(body=body))
        except StoreUnavailable as error:
            if not error.rolled_back:
                raise
    raise AssertionError("never got a turn")


def test_a_submitted_task_is_kept_as_it_was_asked_for(database: Database) -> None:
    asked = new_task(
        project="acme",
        method="PUT",
        headers=(("X-Tenant", "7"), ("Authorization", "Bearer s3cret")),
        body=bytes(range(256)),
        content_type="application/octet-stream",
        webhook_url="https://caller.example/hook",
        webhook_events=frozenset({WebhookEvent.ATTEMPT_FAILED, WebhookEvent.DEAD}),
        retries=7,
        timeout=timedelta(seconds=1.25),
        backoff=Backoff(
            type=BackoffType.SCHEDULE,
            initial=timedelta(seconds=0.1),
            factor=1.1,
            max=timedelta(hours=30),
            jitter=Jitter.NONE,
            schedule=(timedelta(seconds=0.1), timedelta(hours=30)),
        ),
        queue="mail",
        priority=9,
        ordering_key="customer ☃ 1",
        flow_key="smtp",
        labels=("red", "grün"),
        metadata=b'{"n": 1.10}',
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    (accepted,) = submit(database, asked).tasks
    found = look_up(database, accepted.id, project="acme")
    assert found == accepted
    assert found.spec == asked.spec
    assert (found.state, found.progress.seq, found.progress.number) == (TaskState.QUEUED, 1, 0)
    assert found.id.version == 7


def test_the_least_that_can_be_asked_for_comes_back_too(database: Database) -> None:
    asked = new_task(body=None, content_type=None, webhook_events=frozenset())
    assert look_up(database, submit(database, asked).tasks[0].id).spec == asked.spec


def test_an_empty_body_is_not_no_body(database: Database) -> None:
    assert look_up(database, submit_one(database, body=b"").id).spec.body == b""


def test_relative_times_count_from_the_databases_clock(database: Database, clock: Clock) -> None:
    clock.advance(days=1000)
    with database.read() as conn:
        before = database.now(conn)
    plain = submit_one(database)
    delayed = submit_one(database, delay=timedelta(hours=1), expires_in=timedelta(hours=2))
    assert timedelta(0) <= plain.created_at - before < timedelta(seconds=5)
    assert plain.run_at == plain.not_before == plain.created_at
    assert plain.expires_at == plain.created_at + DEFAULT_EXPIRY
    assert delayed.not_before == delayed.run_at == delayed.created_at + timedelta(hours=1)
    assert delayed.expires_at == delayed.created_at + timedelta(hours=2)


def test_a_life_without_end_of_its_own_counts_from_the_run(database: Database) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + YEAR
    task = submit_one(database, run_at=at)
    assert (task.run_at, task.not_before, task.expires_at) == (at, at, at + DEFAULT_EXPIRY)
    assert look_up(database, task.id) == task


def test_what_should_have_run_long_ago_runs_now(database: Database) -> None:
    at = datetime.now(UTC) - YEAR
    task = submit_one(database, run_at=at)
    assert task.not_before == task.created_at
    assert task.expires_at == task.created_at + DEFAULT_EXPIRY
    assert claim_one(database).id == task.id


def test_named_times_win_over_spans(database: Database) -> None:
    at = datetime.now(UTC).replace(microsecond=123456)
    task = submit_one(
        database, run_at=at + YEAR, delay=timedelta(1), expires_at=at + 2 * YEAR, expires_in=timedelta(seconds=1)
    )
    assert (task.run_at, task.expires_at) == (at + YEAR, at + 2 * YEAR)
    assert look_up(database, task.id) == task


def test_tasks_of_one_submission_keep_their_order(database: Database) -> None:
    asked = tuple(new_task(body=b"%d" % number) for number in range(200))
    accepted = submit(database, *asked).tasks
    assert [task.spec.body for task in accepted] == [new.spec.body for new in asked]
    assert [task.id for task in accepted] == sorted(task.id for task in accepted)


def test_a_submission_is_accepted_whole_or_not_at_all(database: Database) -> None:
    good, bad = [new_task(labels=("x",)) for _ in range(3)], new_task(priority=12, labels=("x",))
    with pytest.raises(Exception, match=r"(?i)check"):
        submit(database, *good, bad, key=key())
    assert count(database) == (0, 0, 0, 0)


def test_a_label_is_kept_once(database: Database) -> None:
    submit_one(database, labels=("a", "b", "a"))
    assert count(database)[2] == 2


def test_a_webhook_must_have_a_cause(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)check"):
        submit_one(database, kind=Kind.WEBHOOK)


def test_a_repeated_key_gives_the_same_task_as_it_stands_now(database: Database) -> None:
    first = submit(database, new_task(), key=key())
    settle_one(database, claim_one(database), answer(200))
    again = submit(database, new_task(), key=key())
    assert (first.replayed, again.replayed) == (False, True)
    assert [task.id for task in again.tasks] == [task.id for task in first.tasks]
    assert again.tasks[0].state is TaskState.SUCCEEDED
    assert count(database)[0] == 1


def test_a_key_that_comes_back_with_another_body_is_refused(database: Database) -> None:
    submit(database, new_task(), key=key())
    with pytest.raises(KeyReused):
        submit(database, new_task(), key=key(body=OTHER_BODY))
    assert count(database)[0] == 1


def test_each_project_has_keys_of_its_own(database: Database) -> None:
    mine = submit(database, new_task(), key=key())
    theirs = submit(database, new_task(project="other"), key=key(project="other", body=OTHER_BODY))
    assert not theirs.replayed
    assert theirs.tasks[0].id != mine.tasks[0].id


def test_an_expired_key_is_free_again(database: Database, clock: Clock) -> None:
    first = submit(database, new_task(), key=key(hours=1))
    clock.advance(minutes=59)
    assert submit(database, new_task(), key=key(hours=1)).replayed
    clock.advance(minutes=2)
    second = submit(database, new_task(), key=key(body=OTHER_BODY, hours=1))
    assert not second.replayed
    assert second.tasks[0].id != first.tasks[0].id
    assert submit(database, new_task(), key=key(body=OTHER_BODY)).replayed


def test_a_key_whose_task_was_pruned_is_free_again(database: Database, clock: Clock) -> None:
    first = submit(database, new_task(), key=key(hours=24 * 30))
    settle_one(database, claim_one(database), answer(200))
    clock.advance(days=15)
    with database.begin() as conn:
        conn.execute(idempotency_keys.update().values(expires_at=datetime.now(UTC) + YEAR))
        retention.prune(conn, database, ended=timedelta(days=14), dead=timedelta(days=30))
    second = submit(database, new_task(), key=key(body=OTHER_BODY))
    assert not second.replayed
    assert second.tasks[0].id != first.tasks[0].id


def test_a_key_may_cover_a_whole_batch(database: Database) -> None:
    batch = [new_task(body=b"%d" % number) for number in range(5)]
    first = submit(database, *batch, key=key())
    again = submit(database, *batch, key=key())
    assert again.replayed
    assert [task.id for task in again.tasks] == [task.id for task in first.tasks]


def test_items_of_a_batch_may_have_keys_of_their_own(database: Database) -> None:
    first = submit(database, new_task(), key=key("b"))
    batch = Submission(tuple(new_task() for _ in range(3)), item_keys=(key("a"), key("b"), None))
    (answered,) = submit_group(database, batch)
    receipt = receipt_of(answered)
    assert not receipt.replayed
    assert receipt.tasks[1].id == first.tasks[0].id
    assert len({task.id for task in receipt.tasks}) == 3
    whole = Submission(tuple(new_task() for _ in range(2)), item_keys=(key("a"), key("b")))
    again = receipt_of(submit_group(database, whole)[0])
    assert again.replayed
    assert [task.id for task in again.tasks] == [task.id for task in receipt.tasks[:2]]


def test_one_reused_key_refuses_its_whole_batch_and_leaves_no_trace(database: Database) -> None:
    submit(database, new_task(), key=key("b"))
    before = count(database)
    batch = Submission(tuple(new_task() for _ in range(2)), item_keys=(key("a"), key("b", body=OTHER_BODY)))
    (answered,) = submit_group(database, batch)
    assert isinstance(answered, KeyReused)
    assert count(database) == before
    assert not submit(database, new_task(), key=key("a", body=OTHER_BODY)).replayed


def test_a_refused_submission_does_not_fail_its_neighbours(database: Database) -> None:
    submit(database, new_task(), key=key())
    group = [Submission((new_task(),), key=key(name, body=OTHER_BODY)) for name in ("key-0", "key-1", "key-2")]
    first, refused, last = submit_group(database, *group)
    assert isinstance(refused, KeyReused)
    assert receipt_of(first).tasks[0].id != receipt_of(last).tasks[0].id


def test_one_key_twice_in_one_group_is_one_task(database: Database) -> None:
    same = [Submission((new_task(),), key=key()) for _ in range(3)]
    first, second, third = map(receipt_of, submit_group(database, *same))
    assert [first.replayed, second.replayed, third.replayed] == [False, True, True]
    assert first.tasks == second.tasks == third.tasks
    assert count(database) == (1, 1, 0, 1)


def test_one_key_with_two_bodies_in_one_group_takes_the_first(database: Database) -> None:
    group = [Submission((new_task(),), key=key(body=body)) for body in (BODY, OTHER_BODY)]
    first, second = submit_group(database, *group)
    assert not receipt_of(first).replayed
    assert isinstance(second, KeyReused)


def test_a_group_may_hold_several_projects(database: Database) -> None:
    group = [Submission((new_task(project=project),), key=key(project=project)) for project in ("a", "b")]
    submit_group(database, *group)
    again = map(receipt_of, submit_group(database, *group))
    assert [(each.tasks[0].spec.project, each.replayed) for each in again] == [("a", True), ("b", True)]


def test_one_key_is_one_task_whatever_the_race(database: Database, other: Database) -> None:
    calls = [partial(keyed, store) for store in (database, other) * 8]
    answered = at_once(calls)
    receipts = [each for each in answered if isinstance(each, Receipt)]
    assert len(receipts) == 16, answered
    assert len({each.tasks[0].id for each in receipts}) == 1
    assert sum(not each.replayed for each in receipts) == 1
    assert count(database) == (1, 1, 0, 1)


def test_of_two_bodies_racing_for_one_key_one_wins(database: Database, other: Database) -> None:
    stores = (database, other) * 4
    calls = [partial(keyed, store, body=b"body %d" % (number % 2)) for number, store in enumerate(stores)]
    answered = at_once(calls)
    accepted = [each.tasks[0].id for each in answered if isinstance(each, Receipt)]
    refused = [each for each in answered if isinstance(each, KeyReused)]
    assert (len(set(accepted)), len(accepted), len(refused)) == (1, 4, 4), answered


def test_groups_with_keys_in_common_do_not_hurt_each_other(database: Database, other: Database) -> None:
    names = [f"key-{number}" for number in range(40)]

    def all_of_them(store: Database, order: list[str]) -> list[Task]:
        group = [Submission((new_task(),), key=key(name)) for name in order]
        for _ in range(50):
            try:
                return [task for each in submit_group(store, *group) for task in receipt_of(each).tasks]
            except StoreUnavailable as error:
                if not error.rolled_back:
                    raise
        raise AssertionError("never got a turn")

    orders = [names, names[::-1], names[20:] + names[:20], names[::2] + names[1::2]]
    stores = (database, other, database, other)
    answered = at_once([partial(all_of_them, store, order) for store, order in zip(stores, orders, strict=True)])
    found = [{task.id for task in each} for each in answered if isinstance(each, list)]
    assert len(found) == 4, answered
    assert all(ids == found[0] for ids in found)
    assert count(database) == (40, 40, 0, 40)


@pytest.mark.parametrize("text", ["nul \x00 in it", "half \ud800 a pair"])
def test_text_that_one_database_cannot_hold_fails_alone(database: Database, text: str) -> None:
    good = submit_one(database)
    bad: NewTask = new_task(traceparent=text)
    try:
        accepted = submit(database, bad).tasks[0]
    except StoreUnavailable:
        raise
    except Exception:
        assert count(database)[0] == 1
    else:
        assert look_up(database, accepted.id).spec == replace(bad.spec)
    assert look_up(database, good.id).state is TaskState.QUEUED
