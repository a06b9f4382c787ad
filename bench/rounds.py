"""Two sides of one comparison, measured in turn, so that what the machine does meanwhile hits both alike."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import TypeVar

from bench.report import HALF, Figure, Row
from bench.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Sample:
    """One side of one round. ``cpu`` is what this process spent, in seconds; latencies are in seconds too."""

    count: int
    seconds: float
    cpu: float | None = None
    latencies: Sequence[float] = ()

    def of(self, count: int) -> Sample:
        """The same, counted as ``count``."""
        return replace(self, count=count)

    def then(self, other: Sample) -> Sample:
        """One of these followed by one of ``other``, for each of both."""
        assert self.count == other.count, "each is followed by one of the other"
        return Sample(
            self.count,
            self.seconds + other.seconds,
            None if self.cpu is None or other.cpu is None else self.cpu + other.cpu,
            [sum(both) for both in zip(self.latencies, other.latencies, strict=True)],
        )


LEAST_ROUNDS = 4
Side = Callable[[], Sample]
T = TypeVar("T")


class Stopwatch:
    """Times what happens inside ``with``: the wall, and the processor time of this process, all threads together."""

    seconds = 0.0
    cpu = 0.0

    def __enter__(self) -> Stopwatch:
        gc.collect()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside ``with`` is not counted."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self._cpu += time.process_time() - cpu
        self._wall += time.perf_counter() - wall

    def sample(self, count: int, latencies: Sequence[float] = ()) -> Sample:
        return Sample(count, self.seconds, self.cpu, latencies)


def timed(call: Callable[[], object], latencies: list[float]) -> None:
    """Run ``call`` and note how long it took."""
    start = time.perf_counter()
    call()
    latencies.append(time.perf_counter() - start)


def repeated(call: Callable[[T], object], items: Iterable[T], *, weight: int = 1) -> Sample:
    """``call`` with each of ``items``, one after the other; ``weight`` is how many tasks one of them holds."""
    latencies: list[float] = []
    with Stopwatch() as watch:
        for item in items:
            timed(partial(call, item), latencies)
    return watch.sample(weight * len(latencies), latencies)


def together(call: Callable[[int], object], *, callers: int, calls: int) -> Sample:
    """``calls`` times ``call(caller)`` from each of ``callers`` threads, which start at once."""
    start = threading.Barrier(callers + 1)
    latencies: list[float] = []

    def run(caller: int) -> None:
        own: list[float] = []
        start.wait()
        for _ in range(calls):
            timed(partial(call, caller), own)
        latencies.extend(own)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    with Stopwatch() as watch:
        start.wait()
        for thread in threads:
            thread.join()
    assert len(latencies) == callers * calls, "a caller failed; its error is printed above"
    return watch.sample(len(latencies), latencies)


def compare(
    *,
    part: str,
    database: str,
    case: str,
    ours: Side,
    bare: Mapping[str, Side],
    sizes: Sizes,
    prepare: Callable[[], None] | None = None,
    unlike: Collection[str] = (),
    least: float = HALF,
) -> list[Row]:
    """One row for each bare part; those in ``unlike`` are not like for like, of the others ours is to reach ``least``.

    ``prepare`` runs before every round, unmeasured.

    The first round only warms up, unless it is the only one. A slow machine gets fewer rounds than ``sizes`` asks for.
    """
    start = time.monotonic()
    sides = [("", ours), *bare.items()]
    samples: dict[str, list[Sample]] = {name: [] for name, _ in sides}
    for number in range(sizes.rounds):
        if number >= LEAST_ROUNDS and time.monotonic() - start > sizes.patience:
            break
        if prepare:
            prepare()
        # Ours goes first in one round and last in the next: neither side always finds the warmer tables.
        for name, side in sides if number % 2 == 0 else reversed(sides):
            sample = side()
            if number or sizes.rounds == 1:
                samples[name].append(sample)
    own = samples[""]
    return [
        Row(
            part=part,
            database=database,
            case=case,
            against=name,
            ours=_figure(own),
            bare=_figure(samples[name]),
            ratios=tuple(_rate(a) / _rate(b) for a, b in zip(own, samples[name], strict=True)),
            like_for_like=name not in unlike,
            least=least,
        )
        for name in bare
    ]


def _figure(samples: Sequence[Sample]) -> Figure:
    latencies = sorted(latency for sample in samples for latency in sample.latencies)
    cpus = [sample.cpu / sample.count for sample in samples if sample.cpu is not None]
    return Figure(
        rate=median(map(_rate, samples)),
        cpu=median(cpus) if cpus else None,
        p50=_share(latencies, 0.50),
        p99=_share(latencies, 0.99),
    )


def _rate(sample: Sample) -> float:
    return sample.count / sample.seconds


def _share(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
