"""How much is measured: enough for a figure, enough for a smoke test, or the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counts per round and side; a mapping gives one for each case."""

    rounds: int  # at most; the first only warms up, unless it is the only one
    patience: float  # seconds after which a case ends, once it has been through LEAST_ROUNDS
    submits: Mapping[int, int]  # calls of each caller, by callers
    claims: Mapping[int, int]  # calls, by batch
    settles: Mapping[int, int]  # calls, by batch
    deliveries: int
    requests: Mapping[int, int]  # of all connections, by connections; as many for each of them
    drained: int  # tasks
    gentle: int  # tasks, one at a time
    backlog: int  # tasks that wait
    engine: int  # tasks that are claimed and settled, by all claimers together
    dead: int  # due tasks of each dead host
    waiting: int  # due tasks of each key that is busy
    peer_share: float  # of the deliveries that a drain beside the peers has
    peer_seconds: float  # for all peers together; 0: one round each, and one kind of target
    plans: bool = False


DEFAULT = Sizes(
    rounds=6,
    patience=4.0,
    submits={1: 200, 8: 60, 64: 20},
    claims={1: 150, 10: 40, 100: 12},
    settles={1: 100, 10: 30, 100: 10},
    deliveries=4000,
    requests={1: 300, 8: 1000, 64: 1920},
    drained=2000,
    gentle=25,
    backlog=100_000,
    engine=6_000,
    dead=10_000,
    waiting=100,
    peer_share=1.0,
    peer_seconds=400.0,
)
TINY = Sizes(
    rounds=1,
    patience=4.0,
    submits={1: 3, 64: 1},
    claims={1: 3, 100: 1},
    settles={1: 3, 10: 1},
    deliveries=200,
    requests={1: 10, 8: 40},
    drained=50,
    gentle=2,
    backlog=300,
    engine=400,
    dead=20,
    waiting=2,
    peer_share=0.01,
    peer_seconds=0.0,
)
FULL = replace(
    DEFAULT,
    rounds=10,
    patience=60.0,
    backlog=1_000_000,
    engine=40_000,
    dead=100_000,
    waiting=300,
    peer_seconds=1500.0,
    plans=True,
)
