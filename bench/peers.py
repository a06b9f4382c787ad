"""Ours beside other queues: the same deliveries on the same PostgreSQL to the same target, from queued to on record."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from subprocess import Popen

from bench.children import HOST, child, settings, told
from bench.databases import WAIT, place
from bench.peer_drain import Contender, Drained, Failed, drain
from bench.peer_report import PeerRow
from bench.sizes import Sizes
from bench.work import fill, new_task
from taskqueue.store import migrations
from taskqueue.store.database import Database
from tests.support.databases import PostgresServer

AT_ONCE, SLOW = 0.0, 0.05  # how long the target takes to answer, in seconds
IN_FLIGHT = {AT_ONCE: 100, SLOW: 400}
_COUNT = 8000  # of our own drains
_FILL_SECONDS, _DRAIN_SECONDS = 40.0, 40.0  # a side that takes longer has failed
_LIMIT = "aiohttp, no queue"
_Measure = Callable[[], Drained]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another queue and what it is to be measured with."""

    name: str
    module: str
    needs: tuple[str, ...]  # distributions; the first is the peer itself
    recorded: str
    count: int  # deliveries of one drain: two seconds' worth of a machine that is not busy
    in_flight: Mapping[float, int]  # by how long the target takes
    least: float | None = None  # how many times its rate ours is to reach where the target answers at once


PEERS = (
    Peer(
        name="PgQueuer",
        module="bench.peer_pgqueuer",
        needs=("pgqueuer", "asyncpg", "aiohttp"),
        recorded="select count(*) from pgqueuer_log where status = 'successful'",
        count=8000,
        in_flight=IN_FLIGHT,
        least=2.5,
    ),
    Peer(
        name="procrastinate",
        module="bench.peer_procrastinate",
        needs=("procrastinate", "aiohttp"),
        recorded="select count(*) from procrastinate_jobs where status = 'succeeded'",
        count=1500,
        in_flight=IN_FLIGHT,
        least=10.0,
    ),
    Peer(
        name="Dramatiq",
        module="bench.peer_dramatiq",
        needs=("dramatiq", "dramatiq-postgres", "urllib3"),
        recorded="select count(*) from dramatiq.result",
        count=1500,
        in_flight={AT_ONCE: 8, SLOW: 100},
    ),
    Peer(
        name="Celery",
        module="bench.peer_celery",
        needs=("celery", "urllib3"),
        recorded="select count(*) from celery_taskmeta where status = 'SUCCESS'",
        count=600,
        in_flight={AT_ONCE: 4, SLOW: 16},
        least=10.0,
    ),
)


def measure(sizes: Sizes) -> Iterator[PeerRow]:
    """A row for each peer and each kind of target, and for the limit; a round each at least, more as time allows."""
    targets = (SLOW,) if sizes.peer_seconds == 0 else (AT_ONCE, SLOW)
    patience = sizes.peer_seconds / (len(targets) * (len(PEERS) + 1))
    with place("postgresql") as where:
        server = PostgresServer(where.url)
        for answers_after in targets:
            ours: _Measure = partial(_ours, server, sizes, answers_after)
            if not sizes.peer_seconds:
                ours = cache(ours)  # once is enough to show that it runs
            yield _row(_LIMIT, ("aiohttp",), partial(_limit, sizes, answers_after), ours, answers_after, patience)
            for peer in PEERS:
                theirs = partial(_theirs, peer, server, sizes, answers_after)
                least = peer.least if answers_after == AT_ONCE else None
                yield _row(peer.name, peer.needs, theirs, ours, answers_after, patience, least=least)


def _row(
    name: str,
    needs: tuple[str, ...],
    theirs: _Measure,
    ours: _Measure,
    answers_after: float,
    patience: float,
    *,
    least: float | None = None,
) -> PeerRow:
    """Rounds of both sides in turn, for ``patience`` seconds; without what the peer needs, a row that says so."""
    row = PeerRow(peer=name, answers_after=answers_after, least=least, limit=name == _LIMIT)
    try:
        versions = [version(each) for each in needs]
    except PackageNotFoundError as missing:
        row.why_not = f"not installed: {missing.name}"
        return row
    row.version = "" if row.limit else versions[0]
    start = time.monotonic()
    try:
        while not row.rounds or (time.monotonic() - start) * (1 + 1 / len(row.rounds)) < patience:
            sides = [("ours", ours), (name, theirs)]
            order = sides if len(row.rounds) % 2 == 0 else sides[::-1]
            found = {side: _measured(side, call) for side, call in order}
            row.rounds.append((found["ours"], found[name]))
    except Failed as failure:
        row.why_not = f"failed: {failure}"
    return row


def _measured(side: str, call: _Measure) -> Drained:
    try:
        return call()
    except Failed as failure:
        raise Failed(f"{side}: {failure}") from failure


def _ours(server: PostgresServer, sizes: Sizes, answers_after: float) -> Drained:
    ours = Contender(
        fill=_fill_ours, work=_work_ours, recorded="select count(*) from endings where state = 'succeeded'"
    )
    return _drain(ours, server, sizes, _COUNT, IN_FLIGHT, answers_after)


def _theirs(peer: Peer, server: PostgresServer, sizes: Sizes, answers_after: float) -> Drained:
    theirs = Contender(fill=partial(_fill, peer), work=partial(_work, peer), recorded=peer.recorded)
    return _drain(theirs, server, sizes, peer.count, peer.in_flight, answers_after)


def _drain(
    contender: Contender,
    server: PostgresServer,
    sizes: Sizes,
    count: int,
    in_flight: Mapping[float, int],
    answers_after: float,
) -> Drained:
    return drain(
        contender,
        server,
        count=max(20, int(count * sizes.peer_share)),
        in_flight=in_flight[answers_after],
        answers_after=answers_after,
        patience=_DRAIN_SECONDS,
    )


def _fill_ours(url: str, port: int, count: int) -> None:
    migrations.upgrade(url)
    database = Database.open(url, wait=WAIT)
    fill(database, count, task=new_task(f"http://{HOST}:{port}/work"))
    database.close()


def _work_ours(url: str, _port: int, in_flight: int) -> AbstractContextManager[Popen[str]]:
    given = settings(url, concurrency=str(in_flight), claim_batch="100")
    return child("taskqueue.cli", "worker", "--lifeline", environ=given)


def _fill(peer: Peer, url: str, _port: int, count: int) -> None:
    with child(peer.module, "fill", url, str(count)) as filling:
        try:
            code = filling.wait(_FILL_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"did not queue {count} in {_FILL_SECONDS:.0f} s") from None
    if code:
        raise Failed("could not be filled; its error is printed above")


def _work(peer: Peer, url: str, port: int, in_flight: int) -> AbstractContextManager[Popen[str]]:
    return child(peer.module, "work", url, str(port), str(in_flight))


def _limit(sizes: Sizes, answers_after: float) -> Drained:
    count = max(20, int(20_000 * sizes.peer_share))
    with child("bench.sink", str(answers_after)) as sink:
        port = told(sink).strip()
        with child("bench.bare_loop", port, str(count), str(IN_FLIGHT[answers_after])) as loop:
            seconds, cpu = map(float, told(loop).split())
    return Drained(count / seconds, cpu / count)
