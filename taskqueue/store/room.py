"""How much room every limit leaves to one claim: pauses, caps, rates, breakers, and the worker's own share.

Caps are compared with the leases there are, never with a counter: a worker that dies cannot leak a slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import floor
from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select, update

from taskqueue.core import breaker as breakers
from taskqueue.core.breaker import Breaker, BreakerState
from taskqueue.core.queue import Rate, next_token, tokens_now
from taskqueue.core.rota import LOOK_AGAIN, Bound, Place
from taskqueue.core.strand import blocked_on_flow, blocked_on_origin, blocked_on_queue
from taskqueue.store.schema import LEASED, flow_keys, queues, ready

SOME_EMPTY = 8  # strands that ran into a limit are looked at beyond the slots that came free, for tasks are cancelled
PROJECTS = 8  # a ring of them is looked at together, where many strands are due
_STRAND = ("id", "project", "queue", "flow_key", "origin", "priority", "look_at", "turn_at")
_LIMITS = ("paused", "concurrency", "rate_limit", "rate_period", "rate_burst", "tokens", "tokens_at")
_BREAKER = (
    "state",
    "changed_at",
    "open_until",
    "trips",
    "window_at",
    "failures",
    "calls",
    "former_failures",
    "former_calls",
)
# A due strand with all that limits it, as both databases select it. `due` is the strand.
NAMES = (
    *_STRAND,
    *(f"queue_{name}" for name in _LIMITS),
    *(f"flow_{name}" for name in _LIMITS),
    *(f"breaker_{name}" for name in _BREAKER),
)
COLUMNS = ", ".join(
    [
        *(f"due.{name}" for name in _STRAND),
        *(f"queues.{name} as queue_{name}" for name in _LIMITS),
        *(f"flow_keys.{name} as flow_{name}" for name in _LIMITS),
        *(f"origins.{name} as breaker_{name}" for name in _BREAKER),
    ]
)
JOINS = """
    left join queues on queues.project = due.project and queues.name = due.queue
    left join flow_keys on flow_keys.project = due.project and flow_keys.key = due.flow_key
    left join origins on origins.project = due.project and origins.origin = due.origin and origins.state <> 'closed'
"""

_Key = tuple[str, str]  # a project, and what is limited in it


def of_ring(rows: Sequence[Any]) -> tuple[list[Any], str]:
    """The due strands among the rows of a ring of projects, and its last project; empty if there are no more."""
    projects = {row.ring for row in rows}
    return [row for row in rows if row.id is not None], max(projects) if len(projects) == PROJECTS else ""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker may hold of any flow key that has no cap of its own, and what it holds now by project and key."""

    most: int
    held: Mapping[_Key, int]


@dataclass(slots=True)
class _Bucket:
    """What a rate has to give, and what this claim may take of it."""

    tokens: float
    bound: Bound


@dataclass(slots=True)
class Room:
    """Every limit that one claim meets. Strands that share one share its ``Bound``."""

    now: datetime
    flow_cap: int | None  # of flow keys that have none of their own
    share: Share | None
    _known: dict[tuple[str, str, str], list[Bound]] = field(default_factory=dict)
    _fresh: list[tuple[str, Bound]] = field(default_factory=list)  # with its project
    _queue_buckets: dict[_Key, _Bucket] = field(default_factory=dict)
    _flow_buckets: dict[_Key, _Bucket] = field(default_factory=dict)

    def places(self, conn: Connection, found: Sequence[Any]) -> list[Place]:
        """The strands in ``found``, each with its limits."""
        self._meet(conn, found)
        return [
            Place(
                strand=row.id,
                project=row.project,
                queue=row.queue,
                flow_key=row.flow_key,
                origin=row.origin,
                priority=row.priority,
                turn_at=row.turn_at,
                bounds=[
                    *self._known["queue", row.project, row.queue],
                    *self._known["flow", row.project, row.flow_key],
                    *self._known["origin", row.project, row.origin],
                ],
            )
            for row in found
        ]

    def free(self) -> dict[tuple[str, str], int]:
        """The slots that caps met since the last time leave free, by project and by the name of the cap."""
        fresh, self._fresh = self._fresh, []
        return {(project, bound.name): bound.left for project, bound in fresh if bound.name and bound.left > 0}

    def draw(self, conn: Connection) -> None:
        """Take from the buckets what was leased."""
        for table, column, buckets in (
            (queues, queues.c.name, self._queue_buckets),
            (flow_keys, flow_keys.c.key, self._flow_buckets),
        ):
            for (project, key), bucket in buckets.items():
                if drawn := max(0, floor(bucket.tokens)) - bucket.bound.left:
                    left = {"tokens": bucket.tokens - drawn, "tokens_at": self.now}
                    conn.execute(update(table).where(table.c.project == project, column == key).values(left))

    def _meet(self, conn: Connection, found: Sequence[Any]) -> None:
        """Make the bounds of limits met for the first time; leases are counted only where a cap asks for it."""
        fresh = {
            kind: {key: row for row in found if (kind, *(key := (row.project, getattr(row, name)))) not in self._known}
            for kind, name in (("queue", "queue"), ("flow", "flow_key"), ("origin", "origin"))
        }
        capped_queues = [key for key, row in fresh["queue"].items() if row.queue_concurrency is not None]
        capped_flows = [key for key, row in fresh["flow"].items() if self._cap(row) is not None]
        running = _running(conn, capped_queues, capped_flows) if capped_queues or capped_flows else _Running()
        for key, row in fresh["queue"].items():
            self._known["queue", *key] = self._of_queue(key, row, running.queues[key])
        for key, row in fresh["flow"].items():
            self._known["flow", *key] = self._of_flow(key, row, running.flows[key])
        for key, row in fresh["origin"].items():
            self._known["origin", *key] = self._of_origin(conn, row)
        self._fresh += [(key[0], bound) for kind in fresh for key in fresh[kind] for bound in self._known[kind, *key]]

    def _cap(self, row: Any) -> int | None:
        cap: int | None = self.flow_cap if row.flow_concurrency is None else row.flow_concurrency
        return cap

    def _of_queue(self, key: _Key, row: Any, running: int) -> list[Bound]:
        bounds = [Bound(0, None)] if row.queue_paused else []
        if row.queue_concurrency is not None:
            bounds.append(self._capped(row.queue_concurrency - running, blocked_on_queue(row.queue)))
        if row.queue_rate_limit is not None:
            rate = _rate(row.queue_rate_limit, row.queue_rate_period, row.queue_rate_burst)
            self._queue_buckets[key] = self._bucket(rate, row.queue_tokens, row.queue_tokens_at)
            bounds.append(self._queue_buckets[key].bound)
        return bounds

    def _of_flow(self, key: _Key, row: Any, running: int) -> list[Bound]:
        bounds = [Bound(0, None)] if row.flow_paused else []
        cap = self._cap(row)
        if cap is not None:
            bounds.append(self._capped(cap - running, blocked_on_flow(row.flow_key)))
        elif self.share is not None:
            bounds.append(Bound(self.share.most - self.share.held.get(key, 0), self.now, own=True))
        if row.flow_rate_limit is not None:
            rate = _rate(row.flow_rate_limit, row.flow_rate_period, row.flow_rate_burst)
            self._flow_buckets[key] = self._bucket(rate, row.flow_tokens, row.flow_tokens_at)
            bounds.append(self._flow_buckets[key].bound)
        return bounds

    def _of_origin(self, conn: Connection, row: Any) -> list[Bound]:
        breaker = _breaker(row)
        room = breakers.room(breaker, self.now) if breaker is not None else None
        if breaker is None or room is None:
            return []
        if not room:
            return [Bound(0, breakers.look_again_at(breaker, self.now))]
        since = breakers.counted_from(breaker, self.now)
        mine = (ready.c.project == row.project, ready.c.origin == row.origin, LEASED)
        started = () if since is None else (ready.c.started_at >= since,)
        running = conn.execute(select(func.count()).select_from(ready).where(*mine, *started)).scalar_one()
        return [self._capped(room - running, blocked_on_origin(row.origin))]

    def _capped(self, left: int, name: str) -> Bound:
        return Bound(left, self.now + LOOK_AGAIN, name)

    def _bucket(self, rate: Rate, tokens: float | None, tokens_at: datetime | None) -> _Bucket:
        held = tokens_now(rate, tokens, tokens_at, self.now)
        whole = max(0, floor(held))
        return _Bucket(held, Bound(whole, next_token(rate, held - whole, self.now)))


@dataclass(frozen=True, slots=True)
class _Running:
    """Leases by queue and by flow key."""

    queues: Counter[_Key] = field(default_factory=Counter)
    flows: Counter[_Key] = field(default_factory=Counter)


def _running(conn: Connection, capped_queues: Iterable[_Key], capped_flows: Iterable[_Key]) -> _Running:
    named = {"queues": [name for _, name in capped_queues], "flows": [key for _, key in capped_flows]}
    running = _Running()
    for row in conn.execute(_RUNNING, named):
        running.queues[row.project, row.queue] += row.leases
        running.flows[row.project, row.flow_key] += row.leases
    return running


def _rate(limit: int, period: float, burst: int | None) -> Rate:
    return Rate(limit, timedelta(seconds=period), burst)


def _breaker(row: Any) -> Breaker | None:
    """``None``: nothing is held against the origin."""
    if row.breaker_state is None:
        return None
    values = {name: getattr(row, f"breaker_{name}") for name in _BREAKER}
    return Breaker(project=row.project, origin=row.origin, **{**values, "state": BreakerState(values["state"])})


# Never more than a few thousand rows: what runs on all workers together.
_RUNNING = (
    select(ready.c.project, ready.c.queue, ready.c.flow_key, func.count().label("leases"))
    .where(
        LEASED,
        or_(
            ready.c.queue.in_(bindparam("queues", expanding=True)),
            ready.c.flow_key.in_(bindparam("flows", expanding=True)),
        ),
    )
    .group_by(ready.c.project, ready.c.queue, ready.c.flow_key)
)
