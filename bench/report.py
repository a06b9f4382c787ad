"""One measured comparison, as a line to read and as JSON to keep."""

from __future__ import annotations

import os
import platform
import sqlite3
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

HALF = 0.5  # what a part must reach of a bare part that is like for like, unless it says otherwise
UNDER, NOT_LIKE_FOR_LIKE = "<", "·"


@dataclass(frozen=True, slots=True)
class Figure:
    """One side: how many a second, and what one costs; times in seconds, ``None`` where nothing was measured."""

    rate: float
    cpu: float | None = None
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A part against the bare part ``against``; a ratio of 1 means that our share of the cost is nothing.

    Not ``like_for_like``: the bare part leaves out what ours must do, such as a durable commit, and shows its price.
    """

    part: str
    database: str
    case: str
    against: str
    ours: Figure
    bare: Figure
    ratios: tuple[float, ...]  # one per round
    like_for_like: bool = True
    least: float = HALF

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def mark(self) -> str:
        if not self.like_for_like:
            return NOT_LIKE_FOR_LIKE
        return " " if self.ratio >= self.least else UNDER

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a database says that it carries out a statement."""

    database: str
    title: str
    text: str


def heading() -> str:
    """The words above the rows."""
    names = _line("part", "database", "case", "against", "ours/s", "bare/s", "ratio", "low-high")
    return f"{names} {'CPU µs':>11} {'p50 ms':>15} {'p99 ms':>15}\n{'-' * 187}"


def line(row: Row) -> str:
    """One row: rates, the median ratio with its range over the rounds, then pairs of ours and bare."""
    rates = f"{row.ours.rate:,.0f}", f"{row.bare.rate:,.0f}"
    spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}"
    names = _line(row.part, row.database, row.case, row.against, *rates, f"{row.ratio:.2f}{row.mark}", spread)
    ours, bare = row.ours, row.bare
    p50, p99 = _pair(ours.p50, bare.p50, 1e3, 2), _pair(ours.p99, bare.p99, 1e3, 2)
    return f"{names} {_pair(ours.cpu, bare.cpu, 1e6, 0):>11} {p50:>15} {p99:>15}".rstrip()


def legend() -> str:
    """The words below the rows."""
    return (
        f"{UNDER} under what it is to reach of a bare part that is like for like; bench/README.md says how much\n"
        f"{NOT_LIKE_FOR_LIKE} not like for like: the bare part leaves out what ours must do; bench/README.md says what"
    )


def machine() -> dict[str, Any]:
    """What the figures were taken on; without it they mean nothing to somebody else."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def _line(part: str, database: str, case: str, against: str, ours: str, bare: str, ratio: str, spread: str) -> str:
    return f"{part:<8} {database:<10} {case:<30} {against:<50} {ours:>9} {bare:>9} {ratio:>6} {spread:>11}"


def _pair(ours: float | None, bare: float | None, scale: float, digits: int) -> str:
    if ours is None and bare is None:
        return ""
    return " / ".join("-" if each is None else f"{each * scale:.{digits}f}" for each in (ours, bare))
