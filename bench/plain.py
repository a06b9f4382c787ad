"""The bare part of the store: its statements through the driver alone, with rows ready made and nothing decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Table

from taskqueue.core.settlement import Settlement
from taskqueue.core.strand import strand_of
from taskqueue.core.task import Task
from taskqueue.store import rows
from taskqueue.store.schema import attempts, endings, ready, tasks

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inserts:
    """Rows for some tables, in the shape the driver takes them, and the one strand that is woken for all of them."""

    tables: tuple[tuple[Table, Sequence[Any]], ...]
    wake: Any = None


@dataclass(frozen=True, slots=True)
class Ends:
    """A batch to settle: the leases that must hold, what becomes of the hot rows, and the history to insert."""

    leases: Sequence[Any]
    history: Inserts


class Plain(Protocol):
    """One connection. Each verb is one transaction."""

    def shaped(self, columns: Sequence[Columns]) -> Sequence[Any]:
        """Rows as the driver takes them; making them is not measured."""

    def insert(self, inserts: Inserts) -> None:
        """Insert what was made ready."""

    def claim(self, limit: int) -> int:
        """The store's own claim, its rows fetched and dropped; return how many there were."""

    def succeed(self, ends: Ends) -> None:
        """Delete the hot rows whose lease holds, insert their attempts and endings."""

    def retry(self, ends: Ends) -> None:
        """Give up the leases that hold, insert their attempts."""

    def empty(self) -> None:
        """Delete every row."""

    def tidy(self) -> None:
        """Leave nothing behind that a background process would clean up during the next round."""

    def waiting(self) -> bool:
        """Whether any task is still alive."""

    def multiply(self, count: int) -> None:
        """Make ``count`` more of the one task there is, each due a microsecond before the last."""

    def plan(self) -> str:
        """How the claim is carried out, as the database tells it, with a plan that knows no parameters."""

    def groups(self) -> int:
        """How many transactions the submitted tasks came in: all of one share their time of creation."""

    def servers(self) -> list[int]:
        """The process of the database's server, which all its others are children of; none if it is none of this
        machine, or the database works inside ours."""

    def close(self) -> None: ...


def new_rows(plain: Plain, fresh: Sequence[Task]) -> Inserts:
    """The rows that submitting ``fresh`` inserts."""
    return Inserts(
        (
            (tasks, plain.shaped([rows.task_columns(task) for task in fresh])),
            (ready, plain.shaped([rows.ready_columns(task, lane_position=None) for task in fresh])),
        ),
        _wake(plain, fresh[0], fresh[0].not_before),
    )


def ends(plain: Plain, settled: Sequence[Settlement], *, now: datetime) -> Ends:
    """The rows that settling inserts, and for a retry what becomes of the hot rows."""
    history = [(attempts, [rows.attempt_columns(item.task, item.attempt) for item in settled if item.attempt])]
    if settled[0].ending:
        history.append((endings, [rows.ending_columns(item) for item in settled]))
    first = settled[0]
    wake = _wake(plain, first.task, now + first.wait) if first.wait is not None else None
    return Ends(
        plain.shaped([{**_lease(item), **_after(item, now)} for item in settled]),
        Inserts(tuple((table, plain.shaped(columns)) for table, columns in history), wake),
    )


def _wake(plain: Plain, task: Task, look_at: datetime | None) -> Any:
    """All tasks that are handed over together wait in the strand of the first."""
    (wake,) = plain.shaped([{"project": task.spec.project, "strand": strand_of(task.spec), "look_at": look_at}])
    return wake


def _lease(item: Settlement) -> Columns:
    lease = item.task.lease
    assert lease is not None, "only a running task is settled here"
    return {"task_id": lease.task_id, "project": lease.project, "lease_token": lease.token}


def _after(item: Settlement, now: datetime) -> Columns:
    if item.wait is None:
        return {}
    progress = item.progress
    return {
        "not_before": now + item.wait,
        "seq": progress.seq,
        "charged": progress.charged,
        "lost": progress.lost,
        "deferred": progress.deferred,
        "memory": progress.memory.encode(),
    }
