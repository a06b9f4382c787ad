"""What the store should do, said in the simplest Python: no tables, no transactions, times in whole seconds.

Every span ends in 50 and the clock moves in hundreds, so that the seconds a test takes never decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE = BACKOFF = 50
LOST_LIMIT = 3
ASKS = 5  # without an answer, then nobody knows
CAP = 2  # of those that share the narrow flow key


@dataclass(slots=True, eq=False)
class Modelled:
    """One task, as the model knows it."""

    key: str | None
    retries: int
    told: bool
    policy: str | None
    undo: str | None  # the reason to die that is compensated; "any" for all
    followed: bool  # when it succeeds
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
    compensated: bool = False
    failed: int = 0  # charged failures that were not rejections, in this generation
    asking: bool = False  # the next attempt asks whether the work was done
    then: str | None = None  # why it dies if it was not; None: it does not
    unanswered: int = 0
    narrow: bool = False  # shares a flow key with a cap

    def counters(self) -> tuple[int, int, int, int, int, int]:
        return self.generation, self.seq, self.number, self.charged, self.lost, self.deferred


@dataclass(slots=True)
class Model:
    """All tasks, the lanes they wait in, and how many webhooks and follow-ups are owed."""

    now: int = 0
    tasks: list[Modelled] = field(default_factory=list)
    lanes: dict[str, list[Modelled]] = field(default_factory=dict)
    errands: int = 0  # webhooks and follow-ups that wait to be sent, in queues of their own
    paused: bool = False  # the queue of all the others

    def submit(
        self,
        key: str | None,
        *,
        delay: int,
        life: int,
        retries: int,
        told: bool,
        policy: str | None,
        undo: str | None,
        followed: bool,
        narrow: bool,
    ) -> Modelled:
        expires_at = self.now + life
        task = Modelled(
            key, retries, told, policy, undo, followed, life - delay, self.now + delay, expires_at, expires_at
        )
        task.narrow = narrow
        self.tasks.append(task)
        self._enter(task)
        return task

    def held(self, task: Modelled) -> bool:
        return task.key is not None and self.lanes[task.key][0] is not task

    def due(self) -> list[Modelled]:
        """What a claim may take now, but for the cap."""
        return (
            []
            if self.paused
            else [
                task
                for task in self.tasks
                if task.state == "queued" and task.not_before <= self.now < task.expires_at and not self.held(task)
            ]
        )

    def startable(self) -> int:
        """How many of those that are due a claim may take."""
        due = self.due()
        narrow = sum(task.narrow for task in due)
        room = CAP - sum(task.narrow and self._leased(task) for task in self.tasks)
        return len(due) - narrow + min(narrow, max(0, room))

    def claim(self, task: Modelled) -> None:
        task.state, task.lease_until = "running", self.now + LEASE
        task.seq, task.number = task.seq + 1, task.number + 1

    def settle(self, task: Modelled, outcome: str) -> None:
        """``outcome``: succeeded, rejected, failed, deferred or lost."""
        task.seq += 1
        if task.asking:
            self._hear(task, outcome)
            return
        free = outcome == "deferred" or (outcome == "failed" and task.policy == "free")
        task.charged += outcome in ("succeeded", "rejected", "failed") and not free
        task.failed += outcome == "failed" and not free
        task.lost += outcome == "lost"
        task.deferred += free
        wait = 0 if outcome == "lost" else BACKOFF
        reason = None if free else self._reason_to_die(task, outcome)
        uncertain = (task.policy or "").startswith("ask") and outcome in ("failed", "lost")
        if outcome == "succeeded":
            self._end(task, "succeeded")
        elif self.now + wait >= task.expires_at:
            self._die(task, self._unasked(task, reason) if uncertain else reason or "expired")
        elif uncertain:
            task.asking, task.then, task.unanswered = True, reason, 0
            self._wait(task, wait)
        elif reason is not None:
            self._die(task, reason)
        else:
            self._wait(task, wait)

    def _reason_to_die(self, task: Modelled, outcome: str) -> str | None:
        if outcome == "rejected":
            return "rejected"
        if outcome == "lost":
            return "lost" if task.lost > LOST_LIMIT or task.policy == "lost is dead" else None
        if outcome == "failed" and task.policy == "poison" and task.failed >= 2:
            return "poison"
        if outcome == "failed" and task.policy == "one more":
            return "exhausted" if task.failed > 1 else None
        return "exhausted" if outcome == "failed" and task.charged > task.retries else None

    def _hear(self, task: Modelled, said: str) -> None:
        """``said``: succeeded for done, deferred for not done, rejected for unknown; there is no answer in the rest."""
        task.deferred += 1
        task.asking = False
        if said == "succeeded":
            self._end(task, "succeeded")
            return
        pause = 2 ** (task.unanswered + 1)
        if said in ("failed", "lost") and task.unanswered + 1 < ASKS and self.now + pause < task.expires_at:
            task.asking, task.unanswered = True, task.unanswered + 1
            self._wait(task, pause)
            return
        reason = task.then
        if said != "deferred":
            reason = {"ask or hold": "uncertain", "ask or fail": reason or "rejected"}.get(task.policy or "", reason)
        if reason is None:
            self._wait(task, 0)
        else:
            self._die(task, reason)

    @staticmethod
    def _unasked(task: Modelled, reason: str | None) -> str:
        return "uncertain" if task.policy == "ask or hold" else reason or "expired"

    def _wait(self, task: Modelled, span: int) -> None:
        task.state, task.not_before = "queued", self.now + span

    def lapsed(self) -> list[Modelled]:
        """Leases past their end, those of tombstones included."""
        return [task for task in self.tasks if self._leased(task) and task.lease_until <= self.now]

    def expired(self) -> list[Modelled]:
        return [task for task in self.tasks if task.state == "queued" and task.expires_at <= self.now]

    def expire(self, task: Modelled) -> None:
        task.seq += 1
        self._die(task, self._unasked(task, task.then) if task.asking else "expired")

    def cancel(self, task: Modelled) -> None:
        task.seq += 1
        if task.state == "running":
            task.tombstone, task.state = True, "cancelled"
            task.deferred += task.asking
            task.charged += not task.asking
            self.errands += task.told
        else:
            self._end(task, "cancelled")

    def let_go(self, task: Modelled) -> None:
        task.tombstone = False
        self._leave(task)

    def run_now(self, task: Modelled) -> None:
        task.not_before = min(task.not_before, self.now)

    def redrive(self, task: Modelled) -> None:
        task.generation, task.seq, task.redriven = task.generation + 1, task.seq + 1, True
        task.number = task.charged = task.lost = task.deferred = task.failed = 0
        task.asking = False
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
        task.compensated = task.undo in ("any", reason)
        self.errands += task.compensated
        self._end(task, "dead")

    def _end(self, task: Modelled, state: str) -> None:
        task.state = state
        self.errands += task.told + (task.followed and state == "succeeded")
        self._leave(task)
