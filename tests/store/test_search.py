"""Finding tasks: every condition, every status as it is shown, and pages that hold still."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from taskqueue.core.errors import InvalidTask
from taskqueue.core.policy import Policy, Reconcile
from taskqueue.core.resource import status
from taskqueue.core.task import Kind, Task, TaskId
from taskqueue.store import dead_letters, search, tasks
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.search import ENDED, LIVING, Page, TaskFilter
from tests.store import plans
from tests.store.pages import every_page
from tests.support.builders import answer, claim_all, kill_one, look_up, new_task, settle_one, submit, submit_one
from tests.support.clock import Clock

HOUR = timedelta(hours=1)


def page(
    database: Database, wanted: TaskFilter, *, cursor: str | None = None, limit: int = 100, project: str = "default"
) -> Page[Task]:
    with database.read() as conn:
        return search.search(conn, project, wanted, cursor=cursor, limit=limit, now=database.now(conn))


def found(database: Database, **wanted: object) -> list[TaskId]:
    return [task.id for task in page(database, TaskFilter(**wanted)).items]  # type: ignore[arg-type]


def one_of_each(database: Database) -> dict[str, TaskId]:
    """A task in every status, each on a target of its own."""
    kinds = ("succeeded", "dead", "cancelled", "tombstone", "running", "retrying", "queued", "scheduled", "redriven")
    delays = {"scheduled": HOUR, "cancelled": HOUR}
    made = {
        name: submit_one(database, target_host=f"{name}.example", delay=delays.get(name, timedelta(0)))
        for name in kinds
        if name != "queued"
    }
    claimed = {task.id: task for task in claim_all(database)}
    statuses = {"succeeded": 200, "dead": 400, "retrying": 500, "redriven": 404}
    for name, code in statuses.items():
        settle_one(database, claimed[made[name].id], answer(code))
    made["queued"] = submit_one(database, target_host="queued.example")
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", made["cancelled"].id)
        tasks.cancel(conn, database, "default", made["tombstone"].id)
        wanted = DeadLetterFilter(target_host="redriven.example")
        (letter,) = dead_letters.search(conn, "default", wanted, cursor=None, limit=1).items
        dead_letters.redrive(conn, database, "default", letter.id)
    return {name: task.id for name, task in made.items()}


def test_each_status_finds_the_tasks_that_show_it(database: Database) -> None:
    made = one_of_each(database)
    expected = {name: {made[name]} for name in (*LIVING, *ENDED)}
    expected["cancelled"].add(made["tombstone"])
    expected["queued"].add(made["redriven"])
    for name, ids in expected.items():
        assert set(found(database, status=name)) == ids, name
    assert len(found(database)) == 9
    with database.read() as conn:
        now = database.now(conn)
    for task in page(database, TaskFilter()).items:
        assert task.id in expected[status(task, now=now)]


def test_a_scheduled_task_becomes_queued_by_time_alone(database: Database, clock: Clock) -> None:
    task = submit_one(database, delay=HOUR)
    assert (found(database, status="scheduled"), found(database, status="queued")) == ([task.id], [])
    clock.advance(hours=2)
    assert (found(database, status="scheduled"), found(database, status="queued")) == ([], [task.id])


def test_a_task_is_found_by_the_end_of_its_newest_generation(database: Database) -> None:
    dead = kill_one(database)
    with database.begin() as conn:
        (letter,) = dead_letters.search(conn, "default", DeadLetterFilter(), cursor=None, limit=1).items
        dead_letters.redrive(conn, database, "default", letter.id)
    assert found(database, status="dead") == []
    settle_one(database, claim_all(database)[0], answer(200))
    assert found(database, status="succeeded") == [dead.id]
    assert found(database, status="dead") == []


def test_the_outcome_is_that_of_the_newest_attempt(database: Database, clock: Clock) -> None:
    task = submit_one(database)
    assert found(database, outcome="server_error") == []
    for code, name in ((500, "server_error"), (503, "unavailable")):
        settle_one(database, claim_all(database)[0], answer(code))
        assert found(database, outcome=name) == [task.id]
        clock.advance(minutes=1)
    assert found(database, outcome="server_error") == []


def test_an_asking_is_no_outcome_of_the_task(database: Database, clock: Clock) -> None:
    asks = Policy(reconcile=Reconcile(url="https://target.example/done", timeout=timedelta(seconds=3)))
    task = submit_one(database, policy=asks)
    for code in (500, 404):  # the call, then the asking, which gets no usable answer
        settle_one(database, claim_all(database)[0], answer(code))
        clock.advance(minutes=1)
    assert found(database, outcome="server_error") == [task.id]
    assert found(database, outcome="not_found") == []


def test_queue_label_host_and_time_each_find_their_own(database: Database, clock: Clock) -> None:
    early = submit_one(database, queue="mail", labels=("red", "blue"))
    clock.advance(hours=1)
    with database.read() as conn:
        moment = database.now(conn)
    clock.advance(hours=1)
    late = submit_one(database, target_host="other.example", labels=("red",))
    assert found(database, queue="mail") == [early.id]
    assert found(database, queue="default") == [late.id]
    assert found(database, label="red") == [late.id, early.id]
    assert found(database, label="blue") == [early.id]
    assert found(database, label="re") == []
    assert found(database, target_host="other.example") == [late.id]
    assert found(database, created_after=moment) == [late.id]
    assert found(database, created_before=moment) == [early.id]
    assert found(database, created_after=moment, created_before=moment) == []


def test_conditions_add_up(database: Database) -> None:
    submit_one(database, queue="mail", labels=("red",))
    both = submit_one(database, queue="mail", labels=("red",), target_host="other.example")
    settle_one(database, next(task for task in claim_all(database) if task.id == both.id), answer(400))
    wanted = {"status": "dead", "queue": "mail", "label": "red", "target_host": "other.example"}
    assert found(database, outcome="bad_request", **wanted) == [both.id]
    for name, other in {"status": "succeeded", "queue": "x", "label": "x", "target_host": "x"}.items():
        assert found(database, **wanted | {name: other}) == []


def test_webhooks_are_found_only_when_asked_for(database: Database) -> None:
    dead = kill_one(database, webhook_url="https://caller.example/hook")
    (hook,) = found(database, kind=Kind.WEBHOOK)
    assert found(database) == [dead.id]
    assert found(database, kind=None) == [hook, dead.id]
    assert found(database, status="queued", kind=Kind.WEBHOOK) == [hook]


def test_the_newest_come_first_and_pages_lead_to_the_oldest(database: Database) -> None:
    newest = [task.id for task in submit(database, *(new_task() for _ in range(11))).tasks][::-1]
    pages = every_page(lambda cursor: page(database, TaskFilter(), cursor=cursor, limit=4))
    assert [[task.id for task in found] for found in pages] == [newest[:4], newest[4:8], newest[8:]]


def test_a_last_page_that_is_full_has_no_cursor(database: Database) -> None:
    submit(database, *(new_task() for _ in range(4)))
    assert page(database, TaskFilter(), limit=4).next_cursor is None
    assert page(database, TaskFilter(), limit=3).next_cursor is not None


@pytest.mark.parametrize("wanted", [TaskFilter(), TaskFilter(status="queued"), TaskFilter(label="x")])
def test_a_page_holds_still_while_tasks_come_and_go(database: Database, wanted: TaskFilter) -> None:
    ids = [task.id for task in submit(database, *(new_task(labels=("x",)) for _ in range(6))).tasks]
    first = page(database, wanted, limit=3)
    submit(database, *(new_task(labels=("x",)) for _ in range(5)))
    second = page(database, wanted, cursor=first.next_cursor, limit=3)
    assert [task.id for task in first.items + second.items] == ids[::-1]


def test_a_cursor_is_worth_nothing_in_another_project(database: Database) -> None:
    submit(database, *(new_task() for _ in range(3)))
    cursor = page(database, TaskFilter(), limit=1).next_cursor
    with pytest.raises(InvalidTask, match="/cursor"):
        page(database, TaskFilter(), cursor=cursor, project="other")


@pytest.mark.parametrize(
    "cursor", ["", "x", "ä", "AAAA", "A" * 23, "????????????????????????????", "A" * 5000, "\x00" * 30]
)
def test_a_cursor_that_is_none_of_ours_is_named(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidTask) as raised:
        page(database, TaskFilter(), cursor=cursor)
    assert raised.value.pointer == "/cursor"


def test_a_found_task_is_the_task_that_is_looked_up_but_for_its_body(database: Database) -> None:
    one_of_each(database)
    for task in page(database, TaskFilter()).items:
        whole = look_up(database, task.id)
        assert whole.spec.body is not None
        assert replace(whole, spec=replace(whole.spec, body=None)) == task


@pytest.mark.parametrize(
    ("wanted", "table", "index"),
    [
        ({}, "tasks", "ix_tasks_newest"),
        ({"kind": Kind.WEBHOOK}, "tasks", "ix_tasks_newest"),
        ({"status": "running"}, "ready", None),
        ({"status": "retrying"}, "ready", None),
        ({"status": "queued"}, "ready", None),
        ({"status": "dead"}, "endings", "ix_endings_state"),
        ({"label": "rare"}, "task_labels", "sqlite_autoindex_task_labels_1"),
        ({"label": "rare", "status": "dead"}, "task_labels", "sqlite_autoindex_task_labels_1"),
        ({"queue": "mail"}, "tasks", "ix_tasks_queue"),
        ({"target_host": "x"}, "tasks", "ix_tasks_target_host"),
    ],
)
def test_each_list_is_led_by_the_table_that_knows_best(
    sqlite_url: str, wanted: dict[str, str], table: str, index: str | None
) -> None:
    (first,) = plans_of(sqlite_url, TaskFilter(**wanted))[:1]  # type: ignore[arg-type]
    led_by = first.splitlines()[0]
    assert f" {table} USING" in led_by
    assert index is None or index in led_by


def test_an_outcome_is_looked_for_among_the_ended_and_among_the_living(sqlite_url: str) -> None:
    living, ended = plans_of(sqlite_url, TaskFilter(outcome="timeout"))
    assert " ready USING" in living.splitlines()[0]
    assert "ix_endings_class (project=? AND class=?)" in ended.splitlines()[0]
    assert "TEMP B-TREE" not in ended


def plans_of(url: str, wanted: TaskFilter) -> list[str]:
    """How each statement of this search, which finds nothing, is carried out."""
    database = Database.open(url)
    with database.read() as conn:
        with plans.statements(conn) as seen:
            search.search(conn, "default", wanted, cursor=None, limit=50, now=database.now(conn))
        found = [plans.plan(conn, statement) for statement in seen]
    database.close()
    return found
