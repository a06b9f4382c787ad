"""Claim with a backlog: what many waiting tasks cost a claim, against the same claim with none behind it."""

from __future__ import annotations

from collections.abc import Iterator

from bench.claim import Claims
from bench.databases import Place, place
from bench.report import Plan, Row
from bench.rounds import compare
from bench.sizes import Sizes
from bench.work import fill

BATCHES = (1, 100)


def measure(deep: Place, sizes: Sizes) -> Iterator[Row | Plan]:
    """The backlog lies in ``deep``; the claims without one have one of their own, so that both can take turns."""
    with (
        deep.open() as database,
        deep.plain() as plain,
        place(deep.name) as shallow,
        shallow.open() as other_database,
        shallow.plain() as other_plain,
    ):
        plain.empty()
        fill(database, 1)
        plain.multiply(sizes.backlog)
        plain.tidy()
        for size in BATCHES:
            calls = sizes.claims[size]
            with_backlog = Claims(database, plain, size, calls)
            without = Claims(other_database, other_plain, size, calls)
            yield from compare(
                part="backlog",
                database=deep.name,
                case=f"batches of {size}",
                ours=with_backlog.ours,
                bare={f"no backlog instead of {sizes.backlog:,} tasks": without.ours},
                sizes=sizes,
                prepare=without.prepare,
            )
        if sizes.plans:
            yield Plan(deep.name, f"the claim with {sizes.backlog:,} tasks waiting", plain.plan())
