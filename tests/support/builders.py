"""Tasks, outcomes and the steps of a task's road, each in a word."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from taskqueue.core.answer import read_answer
from taskqueue.core.errors import KeyReused, StoreUnavailable
from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome, Response, Timings
from taskqueue.core.task import NewTask, Task, TaskId, TaskSpec
from taskqueue.core.terms import Limits
from taskqueue.store import leases, submissions, tasks
from taskqueue.store.database import Database
from taskqueue.store.submissions import IdempotencyKey, Receipt, Submission

LEASE = timedelta(seconds=15)
_OF_SUBMISSION = {field.name for field in fields(NewTask)} - {"spec"}


def new_task(**over: Any) -> NewTask:
    """A submission that is valid as it stands; ``over`` names fields of ``TaskSpec`` or ``NewTask``."""
    spec = TaskSpec(
        target_url="https://target.example/work",
        origin="https://target.example:443",
        target_host="target.example",
        body=b'{"n": 1}',
        content_type="application/json",
    )
    timing = {name: over.pop(name) for name in _OF_SUBMISSION & over.keys()}
    return NewTask(spec=replace(spec, **over), **timing)


def submit(database: Database, *submitted: NewTask, key: IdempotencyKey | None = None) -> Receipt:
    """Commit ``submitted`` as one submission; raise ``KeyReused`` as the service would."""
    with database.begin() as conn:
        (receipt,) = submissions.submit(conn, database, [Submission(tasks=submitted, key=key)])
    if isinstance(receipt, KeyReused):
        raise receipt
    return receipt


def submit_one(database: Database, **over: Any) -> Task:
    """Commit one task; ``over`` as for ``new_task``."""
    return submit(database, new_task(**over)).tasks[0]


def claim_all(
    database: Database, *, limit: int = 100, worker: str = "worker-1", lease: timedelta = LEASE
) -> list[Task]:
    """Lease what is due, up to ``limit``.

    The server ends a claim that stands still for a second, as it may on a busy machine. Workers then claim again.
    """
    try:
        return leases.claim(database, worker=worker, limit=limit, lease=lease).tasks
    except StoreUnavailable:
        return leases.claim(database, worker=worker, limit=limit, lease=lease).tasks


def claim_one(database: Database, *, worker: str = "worker-1", lease: timedelta = LEASE) -> Task:
    """Lease the one task that is due first."""
    (task,) = claim_all(database, limit=1, worker=worker, lease=lease)
    return task


def answer(
    status: int = 200,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"ok",
    complete: bool = True,
) -> Outcome:
    """The outcome of an attempt that the target answered."""
    return read_answer(
        Response(status=status, headers=headers, body=body),
        complete=complete,
        timings=Timings(send=0.001, wait=0.01, read=0.001),
        bytes_sent=300,
        bytes_received=len(body) + 120,
    )


def settle_one(
    database: Database, task: Task, outcome: Outcome, *, jitter: float = 0.5, limits: Limits | None = None
) -> bool:
    """End the running attempt of ``task`` with ``outcome``; False when its lease no longer held."""
    with database.begin() as conn:
        now = database.now(conn)
        settlement = decide(task, outcome, now=now, jitter=jitter, limits=limits or Limits())
        return not leases.settle(conn, database, [settlement])


def kill_one(database: Database, **over: Any) -> Task:
    """Submit a task and have its only attempt rejected; return it as it stands then, dead."""
    task = submit_one(database, **over)
    settle_one(database, claim_one(database), answer(400, body=b"no such account"))
    return look_up(database, task.id)


def look_up(database: Database, task_id: TaskId, *, project: str = "default") -> Task:
    """The task as the store knows it now."""
    with database.read() as conn:
        task = tasks.get(conn, project, task_id)
    assert task is not None, f"no task {task_id} in project {project}"
    return task
