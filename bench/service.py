"""The whole service: submitted over HTTP, stored, delivered, settled; and what it costs all its processes together."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from bench.bare_worker import BATCH
from bench.children import HOST, Meter, child, free_port, settings, told
from bench.databases import Place, place
from bench.deliver import IN_FLIGHT, with_aiohttp
from bench.drain import Draining
from bench.load import put_load
from bench.plain import Plain
from bench.report import Figure, Row
from bench.rounds import Sample, compare
from bench.sizes import Sizes
from bench.work import BODY

_AIOHTTP_ALONE = "aiohttp alone"
_CONNECTIONS, _AT_ONCE = 64, 100
_MANY, _LONG = 1000, 1000  # in flight; milliseconds that each takes
_MEBIBYTES = 150  # what a worker may take with so many in flight
_WITH_SNAPSHOT = 0.7  # vacuum cannot take away what a reader may still look at
_START_SECONDS = 30.0


def measure(served: Place, sizes: Sizes) -> Iterator[Row]:
    yield from _whole(served, sizes)
    yield _memory(served, sizes)
    if served.name == "postgresql":
        yield from _with_snapshot(served, sizes)


def _whole(served: Place, sizes: Sizes) -> Iterator[Row]:
    api_port = free_port()
    with (
        served.plain() as plain,
        child("bench.sink") as sink,
        child("bench.load") as load,
        child("taskqueue.cli", "api", "--lifeline", environ=settings(served.url, port=str(api_port))) as api,
        _worker(served, IN_FLIGHT) as worker,
    ):
        port, count = int(told(sink)), sizes.drained
        service = _Service(plain, api, worker, load, api_port, port)
        service.wait()
        sides = {
            f"{count:,} submits": lambda: service.done(count),
            f"{count:,} tasks, {_AT_ONCE} a submit": lambda: service.done(count, at_once=min(count, _AT_ONCE)),
        }
        for case, side in sides.items():
            yield from compare(
                part="service",
                database=served.name,
                case=case,
                ours=side,
                bare=with_aiohttp(_AIOHTTP_ALONE, port, count),
                unlike={_AIOHTTP_ALONE},
                sizes=sizes,
                prepare=plain.empty,
            )


def _memory(served: Place, sizes: Sizes) -> Row:
    served.empty()
    with served.open() as database, served.plain() as plain, child("bench.sink") as sink, _worker(served, _MANY) as one:
        draining = Draining(database, plain, one, int(told(sink)), sizes)
        draining.drained(max(sizes.drained, 2 * _MANY), path=f"/after/{_LONG}")
        peak = _peak(one)
    return Row(
        part="service",
        database=served.name,
        case=f"peak MiB, {_MANY:,} in flight",
        against=f"{_MEBIBYTES} MiB",
        ours=Figure(peak),
        bare=Figure(_MEBIBYTES),
        ratios=(_MEBIBYTES / peak,),
        least=1.0,
    )


def _with_snapshot(served: Place, sizes: Sizes) -> Iterator[Row]:
    """Each in a database of its own: a snapshot keeps vacuum from the rows of its own alone."""
    served.empty()
    with (
        place(served.name) as free,
        served.open() as database,
        free.open() as other_database,
        served.plain() as plain,
        free.plain() as other_plain,
        child("bench.sink") as sink,
        _worker(served, IN_FLIGHT) as worker,
        _worker(free, IN_FLIGHT) as other_worker,
        database.read() as reader,
    ):
        database.now(reader)
        port, count = int(told(sink)), sizes.drained
        ours = Draining(database, plain, worker, port, sizes)
        bare = Draining(other_database, other_plain, other_worker, port, sizes)
        for each in (ours, bare):
            each.drained(1)
        yield from compare(
            part="service",
            database=served.name,
            case=f"{count:,} tasks, a snapshot held",
            ours=lambda: ours.drained(count),
            bare={"nobody holds a snapshot": lambda: bare.drained(count)},
            sizes=sizes,
            least=_WITH_SNAPSHOT,
        )


def _worker(served: Place, in_flight: int) -> AbstractContextManager[Popen[str]]:
    given = settings(served.url, concurrency=str(in_flight), claim_batch=str(BATCH))
    return child("taskqueue.cli", "worker", "--lifeline", environ=given)


@dataclass(frozen=True, slots=True)
class _Service:
    plain: Plain
    api: Popen[str]
    worker: Popen[str]
    load: Popen[str]
    api_port: int
    port: int

    def wait(self) -> None:
        """Until the API takes connections and the worker has ended a first task."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self.api.poll() is None:
            with suppress(OSError), socket.create_connection((HOST, self.api_port), timeout=1):
                self.done(1)
                return
            time.sleep(0.02)
        raise ChildProcessError("the API does not answer; its error is printed above")

    def done(self, count: int, *, at_once: int = 1) -> Sample:
        """From the first submit until the last of ``count`` tasks has ended. What the load and the target spend is not
        counted; what the database's server spends is."""
        with Meter(self.api, self.worker, *self.plain.servers()) as meter:
            start = time.perf_counter()
            put_load(
                self.load,
                port=self.api_port,
                path="/v1/tasks" if at_once == 1 else "/v1/tasks/batch",
                body=self._body(at_once),
                connections=min(_CONNECTIONS, count // at_once),
                count=count // at_once,
            )
            while self.plain.waiting():
                time.sleep(0.002)
            seconds = time.perf_counter() - start
        return Sample(count, seconds, meter.seconds)

    def _body(self, at_once: int) -> bytes:
        task = {"targetUrl": f"http://{HOST}:{self.port}/work", "payload": json.loads(BODY)}
        return json.dumps(task if at_once == 1 else {"tasks": [task] * at_once}).encode()


def _peak(process: Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, "Linux says how much memory a process took at its most"
    return int(found[1]) / 1024
