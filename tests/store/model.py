"""What the store should do, said in the simplest Python: no tables, no transactions, times in whole seconds.

Every span ends in 50 and the clock moves in hundreds, so that the seconds a test takes never decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE = BACKOFF = 50
LOST_LIMIT = 3


@dataclass(slots=True, eq=False)
class Modelled:
    """One task, as the model knows it."""

    key: str | None
    retries: int
    told: bool
    life: int
    not_before: int
    expires_at: int
    first_expiry: int
    state: str = "queued"
    reason: str | None = None
    generation: int = 1
    seq: int = 1
    number: int = 0
    charged: int = 0
    lost: int = 0
    deferred: int = 0
    lease_until: int = 0
    tombstone: bool = False
    redriven: bool = True  # its last death, if it died

    def counters(self) -> tuple[int, int, int, int, int, int]:
        return self.generation, self.seq, self.number, self.charged, self.lost, self.deferred


@dataclass(slots=True)
class Model:
    """All tasks, the lanes they wait in, and the webhooks that are owed."""

    now: int = 0
    tasks: list[Modelled] = field(default_factory=list)
    lanes: dict[str, list[Modelled]] = field(default_factory=dict)
    hooks: int = 0  # that wait to be sent

    def submit(self, key: str | None, *, delay: int, life: int, retries: int, told: bool) -> Modelled:
        expires_at = self.now + life
        task = Modelled(key, retries, told, life - delay, self.now + delay, expires_at, expires_at)
        self.tasks.append(task)
        self._enter(task)
        return task

    def held(self, task: Modelled) -> bool:
        return task.key is not None and self.lanes[task.key][0] is not task

    def due(self) -> list[Modelled]:
        """What a claim may take now."""
        return [
            task
            for task in self.tasks
            if task.state == "queued" and task.not_before <= self.now < task.expires_at and not self.held(task)
        ]

    def claim(self, task: Modelled) -> None:
        task.state, task.lease_until = "running", self.now + LEASE
        task.seq, task.number = task.seq + 1, task.number + 1

    def settle(self, task: Modelled, outcome: str) -> None:
        """``outcome``: succeeded, rejected, failed, deferred or lost."""
        task.seq += 1
        task.charged += outcome in ("succeeded", "rejected", "failed")
        task.lost += outcome == "lost"
        task.deferred += outcome == "deferred"
        wait = 0 if outcome == "lost" else BACKOFF
        if outcome == "succeeded":
            self._end(task, "succeeded")
        elif outcome == "rejected":
            self._die(task, "rejected")
        elif outcome == "lost" and task.lost > LOST_LIMIT:
            self._die(task, "lost")
        elif outcome == "failed" and task.charged > task.retries:
            self._die(task, "exhausted")
        elif self.now + wait >= task.expires_at:
            self._die(task, "expired")
        else:
            task.state, task.not_before = "queued", self.now + wait

    def lapsed(self) -> list[Modelled]:
        """Leases past their end, those of tombstones included."""
        return [task for task in self.tasks if self._leased(task) and task.lease_until <= self.now]

    def expired(self) -> list[Modelled]:
        return [task for task in self.tasks if task.state == "queued" and task.expires_at <= self.now]

    def expire(self, task: Modelled) -> None:
        task.seq += 1
        self._die(task, "expired")

    def cancel(self, task: Modelled) -> None:
        task.seq += 1
        if task.state == "running":
            task.tombstone, task.charged, task.state = True, task.charged + 1, "cancelled"
            self.hooks += task.told
        else:
            self._end(task, "cancelled")

    def let_go(self, task: Modelled) -> None:
        task.tombstone = False
        self._leave(task)

    def run_now(self, task: Modelled) -> None:
        task.not_before = min(task.not_before, self.now)

    def redrive(self, task: Modelled) -> None:
        task.generation, task.seq, task.redriven = task.generation + 1, task.seq + 1, True
        task.number = task.charged = task.lost = task.deferred = 0
        task.state, task.reason, task.not_before = "queued", None, self.now
        task.expires_at = max(task.first_expiry, self.now + task.life)
        self._enter(task)

    def _leased(self, task: Modelled) -> bool:
        return task.state == "running" or task.tombstone

    def _enter(self, task: Modelled) -> None:
        if task.key is not None:
            self.lanes.setdefault(task.key, []).append(task)

    def _leave(self, task: Modelled) -> None:
        if task.key is not None:
            self.lanes[task.key].remove(task)

    def _die(self, task: Modelled, reason: str) -> None:
        task.reason, task.redriven = reason, False
        self._end(task, "dead")

    def _end(self, task: Modelled, state: str) -> None:
        task.state = state
        self.hooks += task.told
        self._leave(task)
