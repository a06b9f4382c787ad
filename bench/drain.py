"""End to end: a worker process that drains a queue, and how soon it delivers what comes while it is idle."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from subprocess import Popen

from bench.bare_worker import BATCH, BareWorker
from bench.children import HOST, Meter, child, settings, told
from bench.client import post
from bench.databases import WAIT, Place, place
from bench.deliver import IN_FLIGHT, requests, transport, with_aiohttp
from bench.plain import Plain, new_rows
from bench.report import Row
from bench.rounds import Sample, compare
from bench.sink import dated, take_ages
from bench.sizes import Sizes
from bench.work import fill, new_task
from taskqueue.core.task import NewTask
from taskqueue.store.database import Database
from taskqueue.store.group_commit import GroupCommit
from taskqueue.store.submissions import Submission, mint

_DELIVER_ALONE, _AIOHTTP_ALONE = "deliver alone", "aiohttp alone"
_WORK, _SLOW = "/work", 50  # milliseconds
_OF_CONCURRENCY = 0.95  # as fast as the requests in flight permit
_PATIENCE = 60.0
_PAUSE = 0.03  # between tasks that come while the worker is idle, and as much again by chance


def measure(watched: Place, sizes: Sizes) -> Iterator[Row]:
    """The worker watches this database; the bare parts that claim have one of their own."""
    given = settings(watched.url, concurrency=str(IN_FLIGHT), claim_batch=str(BATCH))
    with (
        watched.open() as database,
        watched.plain() as plain,
        place(watched.name) as alone,
        alone.open() as other_database,
        alone.plain() as other_plain,
        child("bench.sink") as sink,
        child("taskqueue.cli", "worker", "--lifeline", environ=given) as worker,
    ):
        port, count = int(told(sink)), sizes.drained
        case, bare = Draining(database, plain, worker, port, sizes), BareWorker(other_database, other_plain, port)
        case.drained(1)  # it has started
        yield from compare(
            part="drain",
            database=watched.name,
            case=f"{count:,} tasks queued",
            ours=lambda: case.drained(count),
            bare={
                "bare claim, deliver, bare settle": lambda: bare.drained(count),
                _DELIVER_ALONE: lambda: transport(port, count),
                **with_aiohttp(_AIOHTTP_ALONE, port, count),
            },
            unlike={_DELIVER_ALONE, _AIOHTTP_ALONE},
            sizes=sizes,
            prepare=plain.empty,
        )
        yield from compare(
            part="drain",
            database=watched.name,
            case=f"{count:,} tasks, a target of {_SLOW} ms",
            ours=lambda: case.drained(count, path=f"/after/{_SLOW}"),
            bare={f"as many requests, {IN_FLIGHT} in flight": lambda: requests(port, count, path=f"/after/{_SLOW}")},
            sizes=sizes,
            prepare=plain.empty,
            least=_OF_CONCURRENCY,
        )
        yield from compare(
            part="drain",
            database=watched.name,
            case=f"{count:,} tasks with webhooks",
            ours=lambda: case.drained(count, webhook=True),
            bare={"twice as many tasks without one": lambda: case.drained(2 * count).of(count)},
            sizes=sizes,
            prepare=plain.empty,
        )
        yield from compare(
            part="drain",
            database=watched.name,
            case="idle to delivered",
            ours=case.delivered,
            bare={"bare insert, then bare request": case.sent},
            sizes=sizes,
            prepare=plain.empty,
        )


@dataclass(frozen=True, slots=True)
class Draining:
    """A worker process and what it is given to drain."""

    database: Database
    plain: Plain
    process: Popen[str]
    port: int
    sizes: Sizes

    def drained(self, count: int, *, path: str = _WORK, webhook: bool = False) -> Sample:
        """From the commit of ``count`` tasks until the last of them has ended, and its webhook too."""
        task = new_task(self._url(path), webhook_url=self._url(_WORK) if webhook else None)
        fill(self.database, count, task=task, at_once=count)
        with Meter(self.process) as meter:
            start = time.perf_counter()
            self._wait_until_ended()
            seconds = time.perf_counter() - start
        return Sample(count, seconds, meter.seconds)

    def delivered(self) -> Sample:
        """From handing a task in until the target has it, each after a pause."""
        committer = GroupCommit(self.database, wait=WAIT)
        for _ in range(self.sizes.gentle):
            _pause()
            committer.submit(Submission(tasks=(self._dated(),)))
        committer.close()
        self._wait_until_ended()
        return _one_at_a_time(take_ages(self.port))

    def sent(self) -> Sample:
        """A durable insert and a request, with nobody in between; the task is due tomorrow, so no worker takes it."""
        with closing(socket.create_connection((HOST, self.port))) as sock:
            for _ in range(self.sizes.gentle):
                _pause()
                tomorrow = replace(self._dated(), delay=timedelta(days=1))
                self.plain.insert(new_rows(self.plain, [mint(tomorrow, now=datetime.now(UTC))]))
                sock.sendall(post(self.port, _WORK, tomorrow.spec.body or b""))
                sock.recv(4096)
        self.plain.empty()
        return _one_at_a_time(take_ages(self.port))

    def _url(self, path: str = _WORK) -> str:
        return f"http://{HOST}:{self.port}{path}"

    def _dated(self) -> NewTask:
        task = new_task(self._url())
        return replace(task, spec=replace(task.spec, body=dated()))

    def _wait_until_ended(self) -> None:
        until = time.monotonic() + _PATIENCE
        while self.plain.waiting():
            if time.monotonic() > until:
                raise TimeoutError(f"the worker did not end its tasks within {_PATIENCE:.0f} s")
            time.sleep(0.002)


def _pause() -> None:
    time.sleep(random.uniform(_PAUSE, 2 * _PAUSE))


def _one_at_a_time(ages: list[float]) -> Sample:
    """What counts is how long the usual one took."""
    return Sample(1, median(ages), latencies=ages)
