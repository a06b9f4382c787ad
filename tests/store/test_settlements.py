"""Settle: everything a change of state writes stands in one transaction, once, and only while the lease holds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from taskqueue.core.outcome import CLASSES, Outcome, Partial, Phase, Response, Timings, failed
from taskqueue.core.outcome import lapsed as lapsed_outcome
from taskqueue.core.policy import OnUnknown, Policy, Reconcile
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import Kind, Task, TaskId, TaskState, WebhookEvent
from taskqueue.store import dead_letters, leases, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.schema import attempts, endings, ready
from taskqueue.store.schema import dead_letters as dead_letters_table
from taskqueue.store.schema import tasks as tasks_table
from tests.store.steps import decided, settle
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, claim_one, look_up, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("sound")
HOOKED = {"webhook_url": "https://caller.example/hook", "webhook_events": frozenset(WebhookEvent)}
TABLES = (tasks_table, ready, attempts, endings, dead_letters_table)


def count(database: Database) -> list[int]:
    """Rows of tasks, ready, attempts, endings and dead letters."""
    with database.read() as conn:
        return [conn.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES]


def webhooks(database: Database, task_id: TaskId) -> list[Task]:
    with database.read() as conn:
        listed = tasks.webhooks(conn, "default", task_id)
    return [look_up(database, hook.id) for hook in listed]  # a list leaves bodies out


def event_of(hook: Task) -> Any:
    return json.loads(hook.spec.body or b"")


def kinds(hooks: list[Task]) -> list[str]:
    return [event_of(hook)["type"] for hook in hooks]


def test_a_success_is_on_record_whole(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    outcome = answer(201, headers=(("content-type", "text/plain"), ("set-cookie", "a=1")), body=b"\x00\xffdone")
    assert settle_one(database, task, outcome)
    found = look_up(database, task.id)
    assert found.state is TaskState.SUCCEEDED
    assert found.last_attempt is not None
    assert found.last_attempt.outcome == outcome
    assert task.lease is not None
    assert (found.last_attempt.id, found.last_attempt.number) == (task.lease.attempt_id, 1)
    assert found.last_attempt.started_at == task.started_at
    assert found.ending is not None
    assert found.ending.attempt_id == found.last_attempt.id
    assert found.ending.finished_at == found.last_attempt.finished_at
    assert count(database) == [1, 0, 1, 1, 0]


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"success"}))
def test_an_outcome_of_every_class_comes_back_as_it_was(database: Database, name: str) -> None:
    submit_one(database)
    task = claim_one(database)
    response = Response(status=418, headers=(("a", "ä"),), body=b"x" * 16384, truncated=True)
    outcome = Outcome(
        cls=CLASSES[name],
        phase=Phase.BODY,
        response=response,
        error_type="E" * 200,
        error_message="mess\tage ☃",
        timings=Timings(dns=0.1, connect=None, tls=1e-9, send=0.25, wait=30.5, read=0.0),
        bytes_sent=2**40,
        bytes_received=2**41,
    )
    if name == "worker_lost":
        outcome = replace(lapsed_outcome(), phase=Phase.SENT)
        settle(database, decided(database, replace(task), outcome))
        return
    assert settle_one(database, task, outcome)
    with database.read() as conn:
        ((_, attempt),) = tasks.attempts(conn, "default", task.id)
    assert attempt.outcome == outcome


def test_an_aborted_attempt_keeps_the_partial_mark_of_its_status(database: Database) -> None:
    submit_one(database)
    task = claim_one(database)
    settle_one(database, task, answer(504, headers=(("taskqueue-control", "abort"),)))
    found = look_up(database, task.id)
    assert found.last_attempt is not None
    assert found.last_attempt.outcome.partial is Partial.LIKELY
    assert found.ending is not None
    assert found.ending.worst_partial is Partial.LIKELY


def test_a_failed_attempt_waits_for_its_backoff_with_its_past_remembered(database: Database, clock: Clock) -> None:
    submit_one(database)
    first = claim_one(database)
    settlement = decided(database, first, answer(500), jitter=1.0)
    assert settlement.wait == timedelta(seconds=2)
    assert settle(database, settlement) == set()
    waiting = look_up(database, first.id)
    assert (waiting.state, waiting.lease, waiting.worker, waiting.started_at) == (TaskState.QUEUED, None, None, None)
    assert waiting.progress == settlement.progress
    assert waiting.progress.memory.previous == "server_error"
    assert claim_all(database) == []
    clock.advance(seconds=3)
    second = claim_one(database)
    assert (second.progress.number, second.progress.charged, second.progress.seq) == (2, 1, 4)
    assert second.progress.memory == settlement.progress.memory


def test_a_death_leaves_a_dead_letter(database: Database) -> None:
    task = submit_one(database, labels=("a",))
    settle_one(database, claim_one(database), answer(400, body=b"no such account"))
    with database.read() as conn:
        (listed,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=10).items
        letter = dead_letters.get(conn, "default", listed.id)
    assert letter is not None
    assert (letter.task.id, letter.generation, letter.reason) == (task.id, 1, DeadReason.REJECTED)
    assert letter.task == look_up(database, task.id)
    assert count(database) == [1, 0, 1, 1, 1]


def test_a_stale_settlement_is_reported_and_writes_nothing(database: Database, clock: Clock) -> None:
    submit(database, *(new_task(**HOOKED) for _ in range(3)))
    kept, lost, cancelled = claim_all(database)
    clock.advance(seconds=16)
    settle(database, decided(database, lost, lapsed_outcome()))
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", cancelled.id)
    before = count(database)
    late = [decided(database, task, answer(200)) for task in (lost, kept, cancelled)]
    assert settle(database, *late) == {lost.id, cancelled.id}
    states = [look_up(database, task.id).state for task in (kept, lost, cancelled)]
    assert states == [TaskState.SUCCEEDED, TaskState.QUEUED, TaskState.CANCELLED]
    assert [after - former for after, former in zip(count(database), before, strict=True)] == [1, 0, 1, 1, 0]


def test_settling_twice_writes_once(database: Database) -> None:
    submit_one(database, **HOOKED)
    task = claim_one(database)
    for status in (200, 400, 500):
        settlement = decided(database, task, answer(status))
        if status == 200:
            assert settle(database, settlement) == set()
        assert settle(database, settlement) == {task.id}
    assert kinds(webhooks(database, task.id)) == ["task.succeeded"]
    assert count(database) == [2, 1, 1, 1, 0]


def test_settling_at_once_writes_once(database: Database, other: Database) -> None:
    submit(database, *(new_task(**HOOKED, retries=0) for _ in range(20)))
    claimed = claim_all(database)
    batches = [[decided(database, task, answer(status)) for task in claimed] for status in (200, 500, 400, 200)]
    calls = [
        partial(settle, store, *(batch if turn % 2 else batch[::-1]))
        for turn, (store, batch) in enumerate(zip((database, other, database, other), batches, strict=True))
    ]
    stale = results(at_once(calls))
    assert sum(20 - len(each) for each in stale) == 20
    for task in claimed:
        ended = look_up(database, task.id)
        assert kinds(webhooks(database, task.id))[-1] == f"task.{ended.state}"


def test_two_attempts_of_one_task_in_one_batch_are_told_apart(database: Database, clock: Clock) -> None:
    submit_one(database, **HOOKED)
    old = claim_one(database)
    clock.advance(seconds=16)
    settle(database, decided(database, old, lapsed_outcome()))
    new = claim_one(database)
    late, fresh = decided(database, old, answer(200)), decided(database, new, answer(400))
    assert settle(database, late, fresh) == {old.id}
    ended = look_up(database, old.id)
    assert (ended.state, ended.progress.number) == (TaskState.DEAD, 2)
    assert kinds(webhooks(database, old.id)) == ["task.attemptFailed", "task.attemptFailed", "task.dead"]


def test_the_webhook_of_a_change_is_written_with_it_or_not_at_all(database: Database) -> None:
    submit(database, new_task(**HOOKED), new_task(**HOOKED))
    claimed = claim_all(database)
    good, bad = (decided(database, task, answer(400)) for task in claimed)
    assert bad.attempt is not None
    broken = replace(bad, attempt=replace(bad.attempt, worker=None))  # type: ignore[arg-type]
    before = count(database)
    with pytest.raises(Exception, match=r"(?i)null"):
        settle(database, good, broken)
    assert count(database) == before
    assert settle(database, good, bad) == set()
    assert [kinds(webhooks(database, task.id)) for task in claimed] == [["task.attemptFailed", "task.dead"]] * 2


def test_the_webhook_of_a_death_names_the_dead_letter(database: Database) -> None:
    task = submit_one(database, **HOOKED)
    settle_one(database, claim_one(database), answer(400))
    told = {event["type"]: event["data"] for event in map(event_of, webhooks(database, task.id))}
    letter = str(look_up(database, task.id).dead_letter_id)
    assert told.keys() == {"task.attemptFailed", "task.dead"}
    for data in told.values():
        assert (data["deadLetterId"], data["links"]["deadLetter"]) == (letter, f"/v1/dead-letters/{letter}")


def test_each_failed_attempt_is_told_once_and_the_end_once(database: Database, clock: Clock) -> None:
    task = submit_one(database, retries=2, **HOOKED)
    for _ in range(3):
        found = next(each for each in claim_all(database) if each.id == task.id)
        settlement = decided(database, found, answer(500))
        settle(database, settlement)
        settle(database, settlement)
        clock.advance(minutes=20)
    hooks = webhooks(database, task.id)
    assert kinds(hooks) == ["task.attemptFailed"] * 3 + ["task.dead"]
    assert {(hook.spec.kind, hook.spec.queue, hook.state) for hook in hooks} == {
        (Kind.WEBHOOK, "$webhooks", TaskState.RUNNING),
        (Kind.WEBHOOK, "$webhooks", TaskState.QUEUED),
    }
    assert len({hook.spec.cause for hook in hooks}) == 4


def test_a_webhook_is_due_at_once_and_has_none_of_its_own(database: Database) -> None:
    task = submit_one(database, **HOOKED)
    settle_one(database, claim_one(database), answer(200))
    hook = claim_one(database)
    assert hook.spec.cause is not None
    assert (hook.spec.cause.task_id, hook.spec.cause.generation, hook.spec.cause.seq) == (task.id, 1, 3)
    assert settle_one(database, hook, answer(410))
    assert webhooks(database, hook.id) == []
    assert look_up(database, hook.id).state is TaskState.DEAD
    assert look_up(database, task.id).state is TaskState.SUCCEEDED


def test_a_large_batch_is_settled_in_one_go(database: Database) -> None:
    submit(database, *(new_task() for _ in range(500)))
    claimed = claim_all(database, limit=500)
    statuses = [200, 400, 500, 429]
    batch = [decided(database, task, answer(statuses[turn % 4])) for turn, task in enumerate(claimed)]
    assert settle(database, *batch) == set()
    assert settle(database) == set()
    assert count(database) == [500, 250, 500, 250, 125]


def test_batches_in_different_order_do_not_block_each_other(database: Database, other: Database) -> None:
    for _ in range(3):
        submit(database, *(new_task() for _ in range(100)))
        claimed = claim_all(database)
        batch = [decided(database, task, answer(200)) for task in claimed]
        extend = partial(_extend, other, claimed[::-1])
        calls = [partial(settle, database, *batch[:60]), partial(settle, other, *batch[::-1][:60]), extend]
        one, two, _ = results(at_once(calls))
        assert len(one | two) == 20


def _extend(database: Database, held: list[Task]) -> set[TaskId]:
    with database.begin() as conn:
        return leases.extend(  # type: ignore[return-value]
            conn, database, [task.lease for task in held if task.lease], lease=timedelta(seconds=15)
        )


@pytest.mark.parametrize("message", ["nul \x00 here", "half \ud800 a pair"])
def test_a_text_that_the_database_refuses_leaves_the_lease_as_it_was(database: Database, message: str) -> None:
    submit_one(database)
    task = claim_one(database)
    refused = decided(database, task, failed("no_response", "X", message, phase=Phase.SENT))
    try:
        written = settle(database, refused) == set()
    except Exception:
        written = False
    plainer = decided(database, task, failed("no_response", "X", "fixed text", phase=Phase.SENT))
    assert (settle(database, plainer) == set()) != written
    assert look_up(database, task.id).progress.number == 1


def test_a_death_after_an_asking_tells_of_the_call_that_was_asked_about(database: Database, clock: Clock) -> None:
    asking = Reconcile(url="https://target.example/done", timeout=timedelta(seconds=9), on_unknown=OnUnknown.HOLD)
    task = submit_one(database, policy=Policy(reconcile=asking), **HOOKED)
    settle_one(
        database, claim_one(database), failed("timeout", "Timeout", "nothing came", phase=Phase.SENT), jitter=0.0
    )
    clock.advance(seconds=1)
    running = next(each for each in claim_all(database) if each.id == task.id)
    assert settle_one(database, running, answer(200, body=b'{"state": "unknown"}'))
    hooks = webhooks(database, task.id)
    assert kinds(hooks) == ["task.attemptFailed", "task.dead"]
    told, found = event_of(hooks[-1])["data"], look_up(database, task.id)
    assert (told["error"]["class"], told["error"]["message"]) == ("timeout", "nothing came")
    assert (told["deadReason"], told["error"]["partialWork"], told["result"]) == ("uncertain", "likely", None)
    assert found.last_attempt is not None
    with database.read() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=2).items
    assert letter.fingerprint == found.last_attempt.fingerprint
