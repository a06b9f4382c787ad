"""What one outcome means for one task: whether another attempt is worth it, what this one used up, how long to wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from taskqueue.core import retry
from taskqueue.core.memory import Memory, Ruled, Streak
from taskqueue.core.outcome import Charge, Outcome, OutcomeClass, Partial, Wait
from taskqueue.core.policy import OnLost, Rule
from taskqueue.core.reason import DeadReason
from taskqueue.core.task import Kind, Progress, Task

GONE = 410


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator may set about how long a task is kept trying."""

    lost_limit: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The row of the outcome's class, as the task's kind, its policy and the target's word change it."""

    outcome: Outcome
    retryable: bool
    retries: int  # the budget this outcome counts against
    class_retries: int | None  # of this class, inside that budget
    charge: Charge
    backoff: retry.Backoff
    now: bool
    named: timedelta | None  # the wait that the target asked for
    rule: Rule | None = None
    rule_index: int | None = None

    @classmethod
    def of(cls, task: Task, outcome: Outcome, *, named: timedelta | None) -> Terms:
        """``named`` is the wait that the target asked for, if it did so in words that can be read."""
        row = outcome.cls
        if task.spec.kind is Kind.WEBHOOK:
            return cls._of_webhook(outcome, named)
        index = task.spec.policy.rule_for(outcome)
        if index is not None:
            return cls._of_rule(task, outcome, named, index)
        charge = row.charge
        if charge is Charge.FREE_WITH_RETRY_AFTER:
            charge = Charge.FREE if named is not None else Charge.YES
        return cls(
            outcome=outcome,
            retryable=row.retryable or outcome.forced_retry,
            retries=task.spec.retries,
            class_retries=row.max_retries,
            charge=charge,
            backoff=retry.backoff_for(row.wait, task.spec.backoff),
            now=row.wait is Wait.NOW,
            named=named,
        )

    @classmethod
    def _of_rule(cls, task: Task, outcome: Outcome, named: timedelta | None, index: int) -> Terms:
        row, rule = outcome.cls, task.spec.policy.all_rules[index]
        # A lost worker is never free: what kills its workers would kill them until it expires.
        charge = Charge.LOST if row.charge is Charge.LOST else Charge.YES if rule.charge else Charge.FREE
        return cls(
            outcome=outcome,
            retryable=rule.retries != 0,
            retries=task.spec.retries if rule.retries is None else rule.retries,
            class_retries=None,
            charge=charge,
            backoff=rule.backoff or retry.backoff_for(row.wait, task.spec.backoff),
            now=row.wait is Wait.NOW and rule.backoff is None,
            named=named,
            rule=rule,
            rule_index=index,
        )

    @classmethod
    def _of_webhook(cls, outcome: Outcome, named: timedelta | None) -> Terms:
        """A webhook is sent until 2xx or its schedule ends; only 410 and a forbidden address stop it."""
        row = outcome.cls
        return cls(
            outcome=outcome,
            retryable=not (_gone(outcome) or row.name in ("target_forbidden", "cancelled")),
            retries=retry.WEBHOOK_RETRIES,
            class_retries=None,
            charge=row.charge if _ours(row) else Charge.YES,
            backoff=retry.WEBHOOK,
            now=row.wait is Wait.NOW,
            named=named,
        )

    @property
    def own_budget(self) -> bool:
        """True when a rule counts what it matches for itself, so that it uses up nothing else."""
        return self.rule is not None and self.rule.retries is not None

    def counted(self, progress: Progress, *, now: datetime, fingerprint: str | None) -> Progress:
        """The counters once this outcome is among them; ``fingerprint`` is the failure's."""
        return Progress(
            generation=progress.generation,
            seq=progress.seq + 1,
            number=progress.number,
            charged=progress.charged + (self.charge is Charge.YES),
            lost=progress.lost + (self.charge is Charge.LOST),
            deferred=progress.deferred + (self.charge is Charge.FREE),
            memory=self._remembered(progress.memory, now=now, fingerprint=fingerprint),
        )

    def reason_to_die(self, task: Task, progress: Progress, limits: Limits) -> DeadReason | None:
        """Why there is no further attempt; ``None`` when there may be one. ``progress`` counts this outcome."""
        if not self.retryable:
            return DeadReason.REJECTED
        policy, memory = task.spec.policy, progress.memory
        if self.charge is Charge.LOST and policy.on_lost is OnLost.DEAD:
            return DeadReason.LOST
        if self.charge is Charge.YES and _poisoned(memory, policy.poison_after):
            return DeadReason.POISON
        if self.own_budget and self.rule_index is not None:
            return DeadReason.EXHAUSTED if memory.ruled[self.rule_index].count > self.retries else None
        if self.charge is Charge.LOST:
            return DeadReason.LOST if progress.lost - memory.lost_apart > limits.lost_limit else None
        if self.charge is Charge.FREE:
            return None
        if self.class_retries is not None and memory.failures[self.outcome.cls.name] > self.class_retries:
            return DeadReason.EXHAUSTED
        return DeadReason.EXHAUSTED if retry.exhausted(_against_task(progress), retries=self.retries) else None

    def wait(self, progress: Progress, *, jitter: float) -> timedelta:
        """Until the next attempt; ``jitter`` is drawn from [0, 1]."""
        if self.now:
            return timedelta(0)
        if self.charge is Charge.FREE:
            return retry.deferral(self.named, self.backoff, progress.memory.deferrals, jitter=jitter)
        own = self.backoff.delay(self._failures(progress), jitter=jitter)
        return own if self.named is None else max(own, self.named * (1 + retry.RETRY_AFTER_JITTER * jitter))

    def last_start(self, progress: Progress) -> datetime | None:
        """When the rule's patience ends; ``None`` when only the task's expiry bounds it."""
        if self.rule is None or self.rule.within is None or self.rule_index is None:
            return None
        return progress.memory.ruled[self.rule_index].since + self.rule.within

    def _failures(self, progress: Progress) -> int:
        if self.own_budget and self.rule_index is not None:
            return progress.memory.ruled[self.rule_index].count
        return max(1, _against_task(progress))

    def _remembered(self, memory: Memory, *, now: datetime, fingerprint: str | None) -> Memory:
        name, free = self.outcome.cls.name, self.charge is Charge.FREE
        succeeded = name == "success"
        failures = memory.failures
        if not succeeded and self.rule is None:
            failures = {**failures, name: failures.get(name, 0) + 1}
        return Memory(
            failures=failures,
            deferrals=memory.deferrals + 1 if free else 0,
            worst_partial=max(memory.worst_partial, Partial.NO if succeeded else self.outcome.partial),
            previous=name,
            ruled=self._ruled(memory, now),
            apart=memory.apart + (self.own_budget and self.charge is Charge.YES),
            lost_apart=memory.lost_apart + (self.own_budget and self.charge is Charge.LOST),
            streak=_streak(memory, fingerprint) if self.charge is Charge.YES else memory.streak,
        )

    def _ruled(self, memory: Memory, now: datetime) -> dict[int, Ruled]:
        ruled = dict(memory.ruled)
        if self.rule_index is not None:
            before = ruled.get(self.rule_index)
            ruled[self.rule_index] = Ruled(before.count + 1, before.since) if before else Ruled(1, now)
        return ruled


def _streak(memory: Memory, fingerprint: str | None) -> Streak | None:
    if fingerprint is None:
        return None
    going_on = memory.streak is not None and memory.streak.fingerprint == fingerprint
    return Streak(fingerprint, memory.streak.length + 1 if going_on and memory.streak else 1)


def _poisoned(memory: Memory, poison_after: int | None) -> bool:
    return poison_after is not None and memory.streak is not None and memory.streak.length >= poison_after


def _against_task(progress: Progress) -> int:
    """The charged attempts, without those that a rule counted for itself."""
    return progress.charged - progress.memory.apart


def _gone(outcome: Outcome) -> bool:
    """By its status: it stands whatever else the answer says, and whatever class that makes of it."""
    return outcome.response is not None and outcome.response.status == GONE


def _ours(row: OutcomeClass) -> bool:
    """Our own trouble, which no schedule should pay for."""
    return row.charge is Charge.LOST or row.name in ("released", "local_resource")
