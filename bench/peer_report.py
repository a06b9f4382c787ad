"""One peer beside ours, as a line to read and as JSON to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.peer_drain import Drained
from bench.report import NOT_LIKE_FOR_LIKE, UNDER


@dataclass(slots=True, kw_only=True)
class PeerRow:
    """A peer's rounds, ours first in each; ``why_not`` says what is missing where there are none, or fewer."""

    peer: str
    answers_after: float
    version: str = ""
    least: float | None = None
    limit: bool = False  # a loop without a queue: nothing to be compared with, only to be measured against
    rounds: list[tuple[Drained, Drained]] = field(default_factory=list)
    why_not: str = ""

    @property
    def ratios(self) -> list[float]:
        return [ours.rate / theirs.rate for ours, theirs in self.rounds]

    @property
    def mark(self) -> str:
        if self.limit:
            return NOT_LIKE_FOR_LIKE
        return UNDER if self.least and median(self.ratios) < self.least else " "

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratios": self.ratios}


def heading() -> str:
    """The words above the rows."""
    spent = "CPU s per 1,000: worker", "database"
    return f"{_line('peer', 'target', 'ours/s', 'peer/s', 'ratio', 'low-high', *spent)}\n{'-' * 130}"


def line(row: PeerRow) -> str:
    """Medians of the rounds, the ratio with its range over them, then pairs of ours and the peer's."""
    who, target = f"{row.peer} {row.version}".strip(), f"{row.answers_after * 1000:.0f} ms"
    if not row.rounds:
        return f"{who:<26} {target:>6}  {row.why_not}"
    ours, theirs = zip(*row.rounds, strict=True)
    figures = _line(
        who,
        target,
        f"{median(each.rate for each in ours):,.0f}",
        f"{median(each.rate for each in theirs):,.0f}",
        f"{median(row.ratios):.2f}{row.mark}",
        f"{min(row.ratios):.2f}-{max(row.ratios):.2f}",
        f"{_spent([each.worker for each in ours])} / {_spent([each.worker for each in theirs])}",
        f"{_spent([each.database for each in ours])} / {_spent([each.database for each in theirs])}",
    )
    return f"{figures}  {row.why_not}".rstrip()


def legend() -> str:
    """The words below the rows."""
    return (
        f"{UNDER} under what ours is to reach; bench/README.md says how much\n"
        f"{NOT_LIKE_FOR_LIKE} not like for like: no queue, only the requests"
    )


def _line(who: str, target: str, ours: str, theirs: str, ratio: str, spread: str, worker: str, database: str) -> str:
    return f"{who:<26} {target:>6} {ours:>9} {theirs:>9} {ratio:>8} {spread:>13} {worker:>24} {database:>18}"


def _spent(seconds: Sequence[float | None]) -> str:
    told = [each for each in seconds if each is not None]
    return f"{median(told) * 1000:.3f}" if told else "-"
