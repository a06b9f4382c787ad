"""Submit into the store: group commit against the inserts it consists of, handed over, unasked and one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from statistics import median

from bench.bare_commit import ready_made_each, waited_for
from bench.databases import WAIT, Place
from bench.plain import Plain
from bench.report import Row
from bench.rounds import Sample, Side, compare, repeated, together
from bench.sizes import Sizes
from bench.work import new_task, ready_made
from taskqueue.store.database import Database
from taskqueue.store.group_commit import GroupCommit
from taskqueue.store.submissions import Submission

SEVERAL = 8  # callers from which an insert for each of them is worth a look


def measure(place: Place, sizes: Sizes) -> Iterator[Row]:
    with place.open() as database, place.plain() as plain:
        for callers, calls in sizes.submits.items():
            with ExitStack() as stack:
                # SQLite has one writer, whoever asks.
                connections = callers if callers >= SEVERAL and place.name != "sqlite" else 1
                own = [stack.enter_context(place.plain()) for _ in range(connections)]
                yield from _with_callers(place, _Submits(database, plain, own, callers, calls), sizes)


def _with_callers(place: Place, submits: _Submits, sizes: Sizes) -> Iterator[Row]:
    case = "1 caller" if submits.callers == 1 else f"{submits.callers} callers"
    sides: dict[str, Side] = {
        f"bare inserts by one thread, {case} waiting": submits.waited_for,
        "unasked": submits.unasked,
    }
    if submits.callers >= SEVERAL:
        sides["an insert of its own for each caller"] = submits.one_by_one
    for row in compare(part="submit", database=place.name, case=case, ours=submits.ours, bare=sides, sizes=sizes):
        against = f"bare inserts, groups of {median(submits.groups):.1f}, nobody waiting"
        # Handing over and waking is what each caller pays for: that side shows the price.
        yield replace(row, against=against, like_for_like=False) if row.against == "unasked" else row


@dataclass(frozen=True, slots=True)
class _Submits:
    """``calls`` tasks from each of ``callers`` threads. Every side finds empty tables."""

    database: Database
    plain: Plain
    own: Sequence[Plain]  # connections of the callers
    callers: int
    calls: int
    groups: list[float] = field(default_factory=list)  # mean size of ours, by round

    def ours(self) -> Sample:
        self.plain.empty()
        committer, submission = GroupCommit(self.database, wait=WAIT), Submission(tasks=(new_task(),))
        sample = together(lambda _: committer.submit(submission), callers=self.callers, calls=self.calls)
        committer.close()
        self.groups.append(sample.count / self.plain.groups())
        return sample

    def waited_for(self) -> Sample:
        """As many threads, each of which hands over one task's rows and waits until they are committed."""
        self.plain.empty()
        return waited_for(self.plain, callers=self.callers, calls=self.calls)

    def unasked(self) -> Sample:
        """One thread and nobody else; its groups are as large as ours came to."""
        self.plain.empty()
        size = max(1, round(self.groups[-1]))
        groups = [ready_made(self.plain, size) for _ in range(max(1, self.callers * self.calls // size))]
        return repeated(self.plain.insert, groups, weight=size)

    def one_by_one(self) -> Sample:
        """Every caller commits its own row: on PostgreSQL through a connection of its own, on SQLite in turn."""
        self.plain.empty()
        turns = [(threading.Lock(), plain) for plain in self.own]
        rows = ready_made_each(self.plain, callers=self.callers, calls=self.calls)

        def insert(caller: int) -> None:
            turn, plain = turns[caller % len(turns)]
            with turn:
                plain.insert(rows[caller].pop())

        return together(insert, callers=self.callers, calls=self.calls)
