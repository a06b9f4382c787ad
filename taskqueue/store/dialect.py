"""What the two databases do differently, as one list. ``postgres.py`` and ``sqlite.py`` each answer all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Engine, Table

from taskqueue.core.rota import Look, Offer
from taskqueue.core.task import Lease, Task


class Hint(StrEnum):
    """What another process may want to look at. A hint may get lost: polling alone must suffice."""

    READY = "ready"  # something may be claimed
    ENDED = "ended"  # something ended


class Listener(Protocol):
    """Hears hints from other processes, and from this one."""

    def wait(self, timeout: float) -> bool:
        """Block for at most ``timeout`` seconds; True when a hint came. Never raises because the database is away."""

    def close(self) -> None:
        """Wake the waiting thread for the last time."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What must still hold in ``ready`` for a settlement to be written; a ``None`` token means: still unleased."""

    project: str
    task_id: UUID
    token: UUID | None
    seq: int
    lapsed: bool  # only if the lease has run out by now: its owner may have extended it meanwhile


@dataclass(frozen=True, slots=True)
class Lane:
    """The tasks of one ordering key, which run one at a time."""

    project: str
    queue: str
    key: str


@dataclass(slots=True)
class Changes:
    """What one transaction writes. Rows of one table name the same columns; hot rows are such as ``match`` locked."""

    inserts: dict[Table, Sequence[dict[str, Any]]] = field(default_factory=dict)
    rescheduled: Sequence[dict[str, Any]] = ()  # hot rows that give up their lease, with their new counters
    gone: Sequence[dict[str, Any]] = ()  # hot rows to delete: project and task_id
    wakes: Sequence[dict[str, Any]] = ()  # strands to look at not later than look_at: project, strand, look_at
    freed: Sequence[dict[str, Any]] = ()  # slots that came free: project, blocked_on, slots


@dataclass(frozen=True, slots=True)
class Leasing:
    """Under what a claim leases: for whom, from when by the database's clock, and until when."""

    worker: str
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """Strands that are due, each with its limits as ``room`` names them; none of them if there are ``many``. Not
    ``folded``: more of what others told is left for the next claim."""

    strands: list[Any]
    many: bool
    folded: bool


Leased = list[tuple[int, Task]]  # tasks that were leased, each with the strand it waited in


class Claims(Protocol):
    """The steps of a claim, each a statement or two. One transaction takes them at a time, in this order."""

    def enter(self, conn: Connection) -> datetime:
        """Wait until no other claim is under way, and hold others off until the commit; return the clock as it then
        reads, without the offset of tests."""

    def due(self, conn: Connection, *, now: datetime, limit: int) -> Due:
        """Take in what others told about strands, and look for those that are due; ``limit`` of them are many."""

    def due_by_project(self, conn: Connection, *, after: str, now: datetime, breadth: int) -> tuple[list[Any], str]:
        """Up to ``breadth`` due strands of each priority of the next projects ``after`` one, and the last of these
        projects; empty if there are no more."""

    def blocked(self, conn: Connection, limits: Mapping[tuple[str, str], int], *, now: datetime) -> list[Any]:
        """Strands that are not due but ran into one of ``limits`` of a project, those whose turn comes first; some more
        of each than the number of slots that it has free, for some may hold nothing any more."""

    def lease(self, conn: Connection, offers: Sequence[Offer], *, limit: int, leasing: Leasing) -> Leased:
        """Lease up to ``limit`` due tasks, never more, in the order of ``offers``; each with its strand. What an
        edited redrive changed is not in them yet."""

    def look_again(self, conn: Connection, looks: Sequence[Look], *, now: datetime) -> None:
        """Put off the strands that were looked at."""


class Dialect(Protocol):
    """Every difference between SQLite and PostgreSQL that the store has to know."""

    name: str

    def engines(self) -> tuple[Engine, Engine]:
        """One for write transactions and one for reads, which see one snapshot."""

    def turn(self) -> AbstractContextManager[None]:
        """Held around a write transaction: where there is one writer at a time, it waits until that is this thread."""

    def missing(self) -> bool:
        """True when there is nothing to connect to and only a migration would make it."""

    def check(self, conn: Connection) -> list[str]:
        """What about this database could lose an acknowledged task, each as a sentence that says what to change."""

    def now(self, conn: Connection) -> datetime:
        """The database's clock, as it read when this transaction began or later."""

    def transient(self, error: BaseException) -> bool:
        """True when the same statement may succeed later: the fault is not in what was asked."""

    def write(self, conn: Connection, changes: Changes) -> bool:
        """Make all ``changes``, on PostgreSQL in one statement; True if a strand that waited for a slot was woken."""

    def insert_keys(self, conn: Connection, rows: Sequence[dict[str, Any]], *, now: datetime) -> set[tuple[str, str]]:
        """Insert those idempotency keys that are free or expired; return them as (project, key)."""

    def lock_lanes(self, conn: Connection, lanes: Iterable[Lane]) -> None:
        """Hold each lane until the transaction ends, so that positions follow commit order."""

    def release(self, conn: Connection, lanes: Sequence[Lane]) -> list[tuple[str, int | None, datetime]]:
        """Let the head of each locked lane go, if it is held and nothing blocks it; the project and strand of each that
        was, and when it may start."""

    def claims(self) -> Claims:
        """The statements of a claim."""

    def extend(self, conn: Connection, leases: Sequence[Lease], *, until: datetime) -> set[UUID]:
        """Move ``lease_until`` of the leases that still hold; return their tokens."""

    def match(self, conn: Connection, guards: Sequence[Guard], *, now: datetime) -> set[Guard]:
        """Lock, in id order, the rows of ``ready`` whose guard holds; return those guards."""

    def recount(self, conn: Connection) -> list[str]:
        """Have tables counted anew that hold several times what statements are planned for; return their names."""

    def commit(self, conn: Connection, hints: Collection[Hint]) -> None:
        """Commit, and see to it that listeners hear of it: together with the commit or after it, never before."""

    def listener(self, hints: frozenset[Hint]) -> Listener:
        """A new listener for ``hints``."""
