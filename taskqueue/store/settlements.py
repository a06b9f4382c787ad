"""Settle: the one way a task's state changes after its submit. Cancel, reclaim and expiry come here too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import compress
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, bindparam, update
from uuid_utils.compat import uuid7

from taskqueue.core.settlement import Settlement
from taskqueue.core.task import AttemptKind, DeadLetterId, Task, TaskId, TaskState
from taskqueue.core.webhook import notices
from taskqueue.store import follow_ups, lanes, loading, order_blocks, rows, strands, submissions
from taskqueue.store.database import Database
from taskqueue.store.dialect import Changes, Guard, Hint
from taskqueue.store.schema import attempts, dead_letters, endings, ready
from taskqueue.store.schema import order_blocks as order_blocks_table


def settle(conn: Connection, database: Database, settlements: Sequence[Settlement]) -> set[TaskId]:
    """Write each settlement whose task still stands as it was read; return the tasks of the stale ones.

    One transaction holds the attempt, the ending, the dead letter, the webhook, the follow-up and the hot row, or none
    of them.
    """
    # Lanes before rows, as every other holder of both takes them.
    leaving = {lane for item in settlements if item.ending and (lane := lanes.lane_of(item.task))}
    database.dialect.lock_lanes(conn, leaving | follow_ups.lanes_of(settlements))
    now = database.now(conn)
    guards = [_guard(item) for item in settlements]
    holding = database.dialect.match(conn, guards, now=now)
    holds = [guard in holding for guard in guards]
    held = [_with_dead_letter(item) for item in compress(settlements, holds)]
    held = _with_last_calls(conn, held)
    following = follow_ups.minted(conn, held, now=now)
    told = [submissions.mint(notice, now=now) for item in held for notice in notices(item, now=now)]
    new = [*told, *following.values()]
    changes = submissions.place(conn, database, new, now=now)[1] if new else Changes()
    _add_history(changes, held, following)
    if blocks := order_blocks.made(conn, held):
        changes.inserts[order_blocks_table] = blocks
    _add_hot_rows(changes, held, now=now)
    strands.wake_for(changes, [(item.task.spec, now + item.wait) for item in held if item.wait is not None])
    ended = [item.task.spec for item in held if item.task.lease and not _leaves_tombstone(item)]
    changes.freed = strands.freed((it.project, it.queue, it.flow_key or it.origin, it.origin) for it in ended)
    if database.dialect.write(conn, changes):
        database.hint(conn, Hint.READY)
    _bury(conn, held)
    _hint(conn, database, held)
    lanes.advance(conn, database, leaving)
    return {item.task.id for item, still in zip(settlements, holds, strict=True) if not still}


def _guard(item: Settlement) -> Guard:
    task = item.task
    return Guard(
        project=task.spec.project,
        task_id=task.id,
        token=task.lease.token if task.lease else None,
        seq=task.progress.seq,
        lapsed=item.attempt is not None and item.attempt.outcome.cls.name == "worker_lost",
    )


def _with_dead_letter(item: Settlement) -> Settlement:
    """A death with the id of its dead letter, which the webhook tells as well."""
    if item.state is not TaskState.DEAD or item.task.dead_letter_id is not None:
        return item
    return replace(item, task=replace(item.task, dead_letter_id=DeadLetterId(uuid7())))


def _with_last_calls(conn: Connection, held: Sequence[Settlement]) -> list[Settlement]:
    """Ends that came while somebody was asked about the last call, each with that call, of which the caller is told."""
    asked = [item for item in held if item.ending and item.attempt and item.attempt.kind is AttemptKind.RECONCILE]
    calls: dict[TaskId, Task] = {}
    for project in {item.task.spec.project for item in asked}:
        mine = [item.task for item in asked if item.task.spec.project == project]
        calls |= loading.with_last_calls(conn, project, mine)
    return [replace(item, task=calls.get(item.task.id, item.task)) for item in held] if calls else list(held)


def _add_history(changes: Changes, held: Sequence[Settlement], following: Mapping[TaskId, Task]) -> None:
    ended = [item for item in held if item.ending]
    changes.inserts |= {
        attempts: [rows.attempt_columns(item.task, item.attempt) for item in held if item.attempt],
        endings: [rows.ending_columns(item) for item in ended],
        dead_letters: [_dead_letter(item, following) for item in ended if item.state is TaskState.DEAD],
    }


def _add_hot_rows(changes: Changes, held: Sequence[Settlement], *, now: datetime) -> None:
    changes.rescheduled = [_rescheduled(item, item.wait, now) for item in held if item.wait is not None]
    changes.gone = [
        {"project": item.task.spec.project, "task_id": item.task.id}
        for item in held
        if item.ending and not _leaves_tombstone(item)
    ]


def _leaves_tombstone(item: Settlement) -> bool:
    """A cancelled attempt is still on the wire: its row stays, void, until the worker lets go or the lease lapses."""
    return item.state is TaskState.CANCELLED and item.task.lease is not None


def _bury(conn: Connection, held: Sequence[Settlement]) -> None:
    if stones := [_tombstone(item) for item in held if _leaves_tombstone(item)]:
        conn.execute(_TOMBSTONE, stones)


def _hint(conn: Connection, database: Database, held: Sequence[Settlement]) -> None:
    """Tell whoever waits for an end or for something to claim."""
    if any(item.ending for item in held):
        database.hint(conn, Hint.ENDED)
    if any(item.wait == timedelta(0) for item in held):
        database.hint(conn, Hint.READY)


def _rescheduled(item: Settlement, wait: timedelta, now: datetime) -> dict[str, Any]:
    progress = item.progress
    return {
        "project": item.task.spec.project,
        "task_id": item.task.id,
        "not_before": now + wait,
        "seq": progress.seq,
        "charged": progress.charged,
        "lost": progress.lost,
        "deferred": progress.deferred,
        "memory": progress.memory.encode(),
    }


def _tombstone(item: Settlement) -> dict[str, Any]:
    return {
        "of_project": item.task.spec.project,
        "of_task": item.task.id,
        "fresh_token": uuid4(),
        "new_seq": item.progress.seq,
    }


def _dead_letter(item: Settlement, following: Mapping[TaskId, Task]) -> dict[str, Any]:
    compensation = following.get(item.task.id)
    task, ending = item.task, item.ending
    assert ending is not None, "only the dead have a dead letter"
    assert ending.reason is not None, "the dead died of something"
    return {
        "id": task.dead_letter_id,
        "project": task.spec.project,
        "task_id": task.id,
        "generation": item.progress.generation,
        "kind": task.spec.kind.value,
        "queue": task.spec.queue,
        "target_host": task.spec.target_host,
        "reason": ending.reason.value,
        "class": ending.cls,
        "partial": int(ending.worst_partial),
        "fingerprint": ending.fingerprint,
        "died_at": ending.finished_at,
        "compensation_id": compensation.id if compensation else None,
    }


_TOMBSTONE = (
    update(ready)
    .where(ready.c.project == bindparam("of_project"), ready.c.task_id == bindparam("of_task"))
    .values(cancelled=True, lease_token=bindparam("fresh_token"), seq=bindparam("new_seq"))
)
