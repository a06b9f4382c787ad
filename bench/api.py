"""Submit over HTTP: the API as a process, against the same server with a view that stores nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from subprocess import Popen

from bench.bare_commit import waited_for
from bench.children import HOST, Meter, child, free_port, settings
from bench.databases import Place
from bench.load import put_load
from bench.plain import Plain
from bench.report import Row
from bench.rounds import Sample, compare, repeated
from bench.sizes import Sizes
from bench.work import BODY, ready_made

_START_SECONDS = 30.0
_NO_COMMIT = "Flask answering without storing"
_TASK = json.dumps({"targetUrl": f"http://{HOST}:9/work", "payload": json.loads(BODY)}).encode()


def measure(place: Place, sizes: Sizes) -> Iterator[Row]:
    api_port, bare_port = free_port(), free_port()
    with (
        place.plain() as plain,
        child("bench.load") as load,
        child("bench.storeless", str(bare_port)) as storeless,
        child("taskqueue.cli", "api", "--lifeline", environ=settings(place.url, port=str(api_port))) as api,
    ):
        ours, bare = _Server(api, api_port, load), _Server(storeless, bare_port, load)
        ours.wait()
        bare.wait()
        for connections, count in sizes.requests.items():
            yield from compare(
                part="api",
                database=place.name,
                case="1 connection" if connections == 1 else f"{connections} connections",
                ours=partial(ours.answer, connections, count),
                bare={
                    _NO_COMMIT: partial(bare.answer, connections, count),
                    "Flask without storing, then bare inserts": partial(_sum, bare, plain, connections, count),
                },
                unlike={_NO_COMMIT},
                sizes=sizes,
                prepare=plain.empty,
            )


def _sum(storeless: _Server, plain: Plain, connections: int, count: int) -> Sample:
    """Two parts, measured one after the other: ``count`` answers, and as many committed inserts.

    One connection waits for each insert alone; of several, as many callers wait and one thread inserts for all.
    """
    answers = storeless.answer(connections, count)
    if connections == 1:
        return answers.then(repeated(plain.insert, [ready_made(plain, 1) for _ in range(count)]))
    return answers.then(waited_for(plain, callers=connections, calls=count // connections))


@dataclass(frozen=True, slots=True)
class _Server:
    process: Popen[str]
    port: int
    load: Popen[str]

    def wait(self) -> None:
        """Until the server takes connections."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return
            time.sleep(0.02)
        raise ChildProcessError(f"{self.process.args!r} does not answer; its error is printed above")

    def answer(self, connections: int, count: int) -> Sample:
        """``count`` submits over ``connections`` connections, each of which sends the next once it has its answer."""
        with Meter(self.process) as meter:
            seconds, latencies = put_load(
                self.load, port=self.port, path="/v1/tasks", body=_TASK, connections=connections, count=count
            )
        return Sample(count, seconds, meter.seconds, latencies)
