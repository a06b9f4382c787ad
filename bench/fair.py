"""The engine alone, claim and settle, where it has to be fair: caps, order, dead hosts, and a key that was idle."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from subprocess import Popen

from bench.children import child
from bench.claimer import BATCH, IDLE_KEY, finish, start
from bench.crowd import Line, break_off, broken, cap, fill_slot, gather, in_order, lines
from bench.databases import WAIT, Place
from bench.plain import Plain
from bench.report import Row
from bench.rounds import Sample, compare
from bench.sizes import Sizes
from bench.work import new_task
from taskqueue.core.task import NewTask
from taskqueue.store.database import Database
from taskqueue.store.group_commit import GroupCommit
from taskqueue.store.submissions import Submission

CLAIMERS = (1, 2, 4)
KEYS = 1000
ORDERING_KEYS = 10_000
DEAD = 10
CAP = 10
_WARM = 0.5  # seconds in which the claimers get going
_SETTLED_IN = 20.0  # seconds: far more than a case takes
_ONE_STRAND, _ALONE = "one strand, no cap", "nothing else waits"
_CAPPED, _ORDERED, _DEAD_HOSTS = 0.60, 0.45, 0.95  # what each is to reach of the same without


def measure(place: Place, sizes: Sizes) -> Iterator[Row]:
    fair = partial(compare, part="fair", database=place.name, sizes=sizes)
    with place.open() as database, place.plain() as plain, ExitStack() as stack:
        started = [stack.enter_context(child("bench.claimer", place.url)) for _ in range(max(CLAIMERS))]
        start(started, count=0)
        finish(started)  # they are there
        for claimers in CLAIMERS:
            some = _Engine(database, plain, started[:claimers], sizes)
            yield from fair(
                case=f"{KEYS:,} capped keys, {claimers} claimer{'s' if claimers > 1 else ''}",
                ours=some.capped,
                bare={_ONE_STRAND: some.one_strand},
                least=_CAPPED,
            )
        two = _Engine(database, plain, started[:2], sizes)
        yield from fair(
            case=f"{ORDERING_KEYS:,} ordering keys",
            ours=two.ordered,
            bare={_ONE_STRAND: two.one_strand},
            least=_ORDERED,
        )
        yield from fair(
            case=f"{DEAD} dead hosts, {sizes.dead:,} due each",
            ours=two.dead,
            bare={f"{KEYS:,} healthy keys without them": two.healthy},
            least=_DEAD_HOSTS,
        )
        yield from fair(
            case="a new task, idle key", ours=two.woken_among_many, bare={_ALONE: two.woken_alone}, unlike={_ALONE}
        )


@dataclass(frozen=True, slots=True)
class _Engine:
    """Some processes that claim and settle. Every side lays out its own tasks first, unmeasured."""

    database: Database
    plain: Plain
    claimers: Sequence[Popen[str]]
    sizes: Sizes

    def one_strand(self) -> Sample:
        return self._measured(lambda: gather(self.database, lines("one", 1), each=self._count))

    def capped(self) -> Sample:
        def lay_out() -> None:
            self._gather(lines("key", KEYS))
            cap(self.database, lines("key", KEYS), at=CAP)

        return self._measured(lay_out)

    def ordered(self) -> Sample:
        return self._measured(lambda: self._gather(in_order("ordered", ORDERING_KEYS)))

    def healthy(self) -> Sample:
        return self._measured(lambda: self._gather(lines("key", KEYS)))

    def dead(self) -> Sample:
        """Half of the dead hosts have an open breaker, and half a cap that is full."""

        def lay_out() -> None:
            hosts = broken("dead", DEAD)
            gather(self.database, hosts, each=self.sizes.dead)
            break_off(self.database, hosts[: DEAD // 2])
            cap(self.database, hosts[DEAD // 2 :], at=1)
            fill_slot(self.database, hosts[DEAD // 2 :])
            self._gather(lines("key", KEYS))

        return self._measured(lay_out)

    def woken_among_many(self) -> Sample:
        """From the commit of a task until it is leased, while the claimers have all they can do with others."""
        self.plain.empty()
        gather(self.database, lines("key", KEYS), each=self.sizes.waiting)
        cap(self.database, lines("key", KEYS), at=CAP)
        return self._woken()

    def woken_alone(self) -> Sample:
        self.plain.empty()
        return self._woken()

    @property
    def _count(self) -> int:
        """As many as are settled, and some more, so that no claim comes back short."""
        return self.sizes.engine + 2 * BATCH * len(self.claimers)

    def _gather(self, waiting: list[Line]) -> None:
        gather(self.database, waiting, each=-(-self._count // len(waiting)) + 1)

    def _measured(self, lay_out: Callable[[], None]) -> Sample:
        self.plain.empty()
        lay_out()
        self.plain.tidy()
        began = time.perf_counter()
        start(self.claimers, count=self.sizes.engine // len(self.claimers), seconds=_SETTLED_IN)
        done = finish(self.claimers)
        seconds = time.perf_counter() - began
        count = sum(each.count for each in done)
        assert count == self.sizes.engine // len(self.claimers) * len(self.claimers), (
            "all that was asked for is settled"
        )
        return Sample(count, seconds, sum(each.cpu for each in done), [it for each in done for it in each.claims])

    def _woken(self) -> Sample:
        self.plain.tidy()
        start(self.claimers, count=10**9, seconds=2 * _WARM + self.sizes.gentle * 0.04)
        time.sleep(_WARM)
        committer = GroupCommit(self.database, wait=WAIT)
        committed: dict[str, float] = {}
        for number in range(self.sizes.gentle):
            time.sleep(random.uniform(0.02, 0.04))
            receipt = committer.submit(Submission(tasks=(_on_key(number),)))
            committed[str(receipt.tasks[0].id)] = time.monotonic()
        committer.close()
        leased_at = {id_: at for each in finish(self.claimers) for id_, at in each.leased_at.items()}
        over = time.monotonic()  # what nobody came to has waited at least until now
        waited = [leased_at.get(id_, over) - at for id_, at in committed.items()]
        return Sample(1, median(waited), latencies=waited)


def _on_key(number: int) -> NewTask:
    task = new_task()
    return replace(task, spec=replace(task.spec, flow_key=f"{IDLE_KEY}-{number}"))
