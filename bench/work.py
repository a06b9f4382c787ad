"""What the parts are given to do: ordinary tasks, and ordinary ways for them to end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bench.plain import Inserts, Plain, new_rows
from taskqueue.core.answer import read_answer
from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome, Response, Timings
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import NewTask, Task, TaskSpec
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.store.submissions import Submission, mint, submit

BODY = b'{"orderId": 12345, "customer": "a-customer", "note": "' + b"x" * 190 + b'"}'
NOWHERE = "http://127.0.0.1:9/work"
LEASE = timedelta(minutes=10)  # nothing lapses while it is measured


def new_task(target_url: str = NOWHERE, *, webhook_url: str | None = None) -> NewTask:
    """A task with a body of 250 bytes and nothing unusual about it."""
    host = target_url.split("/")[2]
    return NewTask(
        spec=TaskSpec(
            target_url=target_url,
            origin=f"http://{host}",
            target_host=host.partition(":")[0],
            body=BODY,
            content_type="application/json",
            webhook_url=webhook_url,
        )
    )


def fill(database: Database, count: int, *, task: NewTask | None = None, at_once: int = 1000) -> None:
    """Submit ``count`` tasks that are due now, ``at_once`` of them in each transaction."""
    for start in range(0, count, at_once):
        batch = Submission(tasks=(task or new_task(),) * min(at_once, count - start))
        with database.begin() as conn:
            submit(conn, database, [batch])


def ready_made(plain: Plain, count: int) -> Inserts:
    """The rows that submitting ``count`` tasks inserts."""
    now = datetime.now(UTC)
    return new_rows(plain, [mint(new_task(), now=now) for _ in range(count)])


def lease_all(database: Database, count: int) -> list[Task]:
    """Claim ``count`` tasks of those that were filled in."""
    claimed = leases.claim(database, worker="bench-1", limit=count, lease=LEASE).tasks
    assert len(claimed) == count, "the bench claims what it filled in, and nobody else does"
    return claimed


def settlements(tasks: list[Task], *, status: int, now: datetime) -> list[Settlement]:
    """What the answer ``status`` makes of running tasks."""
    return [decide(task, _answer(status), now=now, jitter=0.5, limits=Limits()) for task in tasks]


def _answer(status: int) -> Outcome:
    return read_answer(
        Response(status=status, headers=(("content-type", "application/json"),), body=b'{"done": true}'),
        complete=True,
        timings=Timings(send=0.0001, wait=0.002, read=0.0001),
        bytes_sent=600,
        bytes_received=150,
    )
