"""A process that claims and settles and does nothing else: the engine alone, without a delivery.

Run as ``python -m bench.claimer URL``: each line it reads says how long, each line it prints how that went.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from subprocess import Popen
from typing import Any

from bench.children import tell, told
from bench.work import LEASE, settlements
from taskqueue.core.task import Task
from taskqueue.store import leases
from taskqueue.store.database import Database
from taskqueue.store.settlements import settle

BATCH = 200
IDLE_KEY = "idle"  # flow keys that begin with it: of their tasks it is told when they were leased
_PAUSE = 0.001  # where nothing may start at present


@dataclass(frozen=True, slots=True)
class Done:
    """What a claimer came to: tasks, processor seconds, how long each claim took, and when which task was leased."""

    count: int
    cpu: float
    claims: list[float]
    leased_at: dict[str, float]


def start(claimers: Sequence[Popen[str]], *, count: int, seconds: float = 60.0) -> None:
    """Have each claim and settle until it settled ``count`` tasks, or for ``seconds``."""
    for process in claimers:
        tell(process, json.dumps({"count": count, "seconds": seconds}))


def finish(claimers: Sequence[Popen[str]]) -> list[Done]:
    """Wait for what was started."""
    return [Done(**json.loads(told(process))) for process in claimers]


def main(url: str) -> None:
    database = Database.open(url)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_work(database, asked["count"], time.monotonic() + asked["seconds"])), flush=True)


def _work(database: Database, count: int, until: float) -> dict[str, Any]:
    done, after, cpu = 0, "", time.process_time()
    claims: list[float] = []
    leased_at: dict[str, float] = {}
    while done < count and time.monotonic() < until:
        began = time.monotonic()
        claimed = leases.claim(database, worker="bench-1", limit=min(BATCH, count - done), lease=LEASE, after=after)
        after = claimed.after
        ended = time.monotonic()
        claims.append(ended - began)
        leased_at |= {str(task.id): ended for task in claimed.tasks if (task.spec.flow_key or "").startswith(IDLE_KEY)}
        _settle(database, claimed.tasks)
        done += len(claimed.tasks)
        if not claimed.tasks:
            time.sleep(_PAUSE)
    return {"count": done, "cpu": time.process_time() - cpu, "claims": claims, "leased_at": leased_at}


def _settle(database: Database, tasks: list[Task]) -> None:
    if tasks:
        decided = settlements(tasks, status=200, now=datetime.now(UTC))
        with database.begin() as conn:
            stale = settle(conn, database, decided)
        assert not stale, "every lease of the bench holds"


if __name__ == "__main__":
    main(sys.argv[1])
