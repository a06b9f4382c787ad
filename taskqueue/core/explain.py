"""A task explained, in words and in data: why it is where it is, what comes next, and what a person can do."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict

from taskqueue.core import forecast, judgement, order_block, sequel
from taskqueue.core.asking import Asked, asked
from taskqueue.core.forecast import Forecast
from taskqueue.core.guidance import ADVICE, WORK, in_words
from taskqueue.core.held_back import Hold
from taskqueue.core.judgement import LastOutcome
from taskqueue.core.lambda_function import EVENT_CAVEAT, is_event
from taskqueue.core.order_block import BlockResource, block_resource
from taskqueue.core.outcome import Partial
from taskqueue.core.outcome import lapsed as lost_worker
from taskqueue.core.plan import likely_outcome, plan
from taskqueue.core.resource import status
from taskqueue.core.shown import rfc3339
from taskqueue.core.task import Task, TaskId, TaskState, WebhookEvent
from taskqueue.core.terms import Limits
from taskqueue.core.why import PATIENCE, Standing, begun_at, cut_off_at, due_at, ended, lapsed, why

BlockerKind = Literal["time", "orderingKey", "worker", "attempt", "lapsedLease"] | Hold


class Blocker(TypedDict):
    """One thing that keeps a task from going on."""

    kind: BlockerKind
    detail: str
    since: str | None
    until: str | None  # at the latest
    taskId: str | None
    worker: str | None


class Next(TypedDict):
    """What happens to a living task next, by itself."""

    action: Literal["attempt", "reconcile", "outcome", "reclaim", "expire"]
    earliest: str | None  # null: that depends on another task
    latest: str | None  # null: when a worker is free
    detail: str


class ExplainedPlan(Forecast):
    """The attempts to come if each of them ended as supposed."""

    supposes: str  # an outcome class
    detail: str


class Explanation(TypedDict):
    """A task, explained."""

    id: str
    status: str
    why: str
    blockedBy: list[Blocker]
    blocks: BlockResource | None  # of a dead task: those of its ordering key that wait for its sake
    next: Next | None
    plan: ExplainedPlan | None
    lastOutcome: LastOutcome | None
    asked: Asked | None  # since the last call of the target
    expiresAt: str  # no attempt starts later
    onSuccess: list[str]
    onDeath: list[str]
    followedBy: list[str]  # what its ending has set off
    advice: list[str]
    caveats: list[str]


def explain(task: Task, *, now: datetime, limits: Limits, standing: Standing) -> Explanation:
    """``task`` as it stands ``now``, explained."""
    living, found = not task.state.ended, asked(task, standing.attempts)
    outcome = judgement.last_outcome(task, limits=limits, attempts=standing.attempts, asked=found)
    return {
        "id": str(task.id),
        "status": status(task, now=now),
        "why": why(task, now=now, standing=standing, limits=limits),
        "blockedBy": _blockers(task, now, standing),
        "blocks": block_resource(standing.block) if standing.block is not None and not living else None,
        "next": _next(task, now, standing) if living else None,
        "plan": _plan(task, now, limits, standing) if living else None,
        "lastOutcome": outcome,
        "asked": found,
        "expiresAt": rfc3339(task.expires_at),
        "onSuccess": sequel.foreseen(task, WebhookEvent.SUCCEEDED) if living else [],
        "onDeath": sequel.foreseen(task, WebhookEvent.DEAD) if living else [],
        "followedBy": sequel.followed(task, chain=standing.chain, compensation_id=standing.compensation_id),
        "advice": _advice(task, now, standing),
        "caveats": _caveats(task),
    }


def _blockers(task: Task, now: datetime, standing: Standing) -> list[Blocker]:
    if task.state is TaskState.RUNNING:
        since, worker = rfc3339(begun_at(task)), task.worker
        if lapsed(standing, now):
            return [_blocker("lapsedLease", "its worker is silent and is given up", since=since, worker=worker)]
        until = cut_off_at(task, now)
        return [_blocker("attempt", "an attempt is under way", since=since, until=until, worker=worker)]
    if task.state is not TaskState.QUEUED:
        return []
    due, found = due_at(task, now), list[Blocker]()
    if task.held:
        found.append(_by_ordering_key(standing))
    if due > now:
        found.append(_blocker("time", f"its time comes in {in_words(due - now)}", until=due))
    found += [_blocker(each.hold, each.detail, until=each.until) for each in standing.held_back]
    if due <= now and not found and now - due > PATIENCE:
        detail = "no worker has taken it yet: see whether workers run, and whether all their slots are in use"
        found.append(_blocker("worker", detail, since=rfc3339(due)))
    return found


def _by_ordering_key(standing: Standing) -> Blocker:
    block = standing.block
    if block is None:
        return _blocker("orderingKey", "an older task of its ordering key comes first", task_id=standing.lane_head)
    detail = f"waits behind {order_block.of_held(block)}"
    return _blocker("orderingKey", detail, since=rfc3339(block.since), task_id=block.task_id)


def _blocker(
    kind: BlockerKind,
    detail: str,
    *,
    since: str | None = None,
    until: datetime | None = None,
    task_id: TaskId | None = None,
    worker: str | None = None,
) -> Blocker:
    return {
        "kind": kind,
        "detail": detail,
        "since": since,
        "until": rfc3339(until) if until is not None else None,
        "taskId": str(task_id) if task_id is not None else None,
        "worker": worker,
    }


def _next(task: Task, now: datetime, standing: Standing) -> Next:
    if task.state is TaskState.RUNNING:
        if lapsed(standing, now):
            return _step("reclaim", now, None, "the lease is taken back, and the attempt counts as worker_lost")
        return _step("outcome", now, cut_off_at(task, now), "the attempt ends, at the latest when its time is up")
    if task.expires_at <= now:
        return _step("expire", now, None, "it dies, because no attempt may start any more")
    due = None if task.held else max(now, due_at(task, now))
    if task.progress.memory.asking is not None:
        whom = task.spec.policy.reconcile
        named = f" {whom.url}" if whom is not None else ""
        return _step("reconcile", due, None, f"the reconcile URL{named} is asked whether the work was done")
    return _step("attempt", due, None, f"attempt {task.progress.number + 1} calls the target")


def _step(
    action: Literal["attempt", "reconcile", "outcome", "reclaim", "expire"],
    earliest: datetime | None,
    latest: datetime | None,
    detail: str,
) -> Next:
    return {
        "action": action,
        "earliest": rfc3339(earliest) if earliest is not None else None,
        "latest": rfc3339(latest) if latest is not None else None,
        "detail": detail,
    }


def _plan(task: Task, now: datetime, limits: Limits, standing: Standing) -> ExplainedPlan:
    outcome = likely_outcome(task)
    silent = task.state is TaskState.RUNNING and lapsed(standing, now)
    outcomes = [lost_worker(), outcome] if silent else [outcome]
    made = plan(task, outcomes, now=now, limits=limits, slow=not silent)
    held = "; times count from now, although others come first" if task.held else ""
    running = " after the one under way" if task.state is TaskState.RUNNING else ""
    detail = f"if all ended as {outcome.cls.name}{running}: {forecast.in_words(made, expires_at=task.expires_at)}{held}"
    return {**forecast.in_instants(made), "supposes": outcome.cls.name, "detail": detail}


def _advice(task: Task, now: datetime, standing: Standing) -> list[str]:
    if task.state is TaskState.DEAD:
        return _advice_for_dead(task, standing)
    if task.state is TaskState.CANCELLED:
        return [ADVICE["cancelled"]] if ended(task).worst_partial > Partial.NO else []
    if task.state is TaskState.QUEUED and not task.held and due_at(task, now) > now:
        return [f"To start it now, run: taskqueue tasks run-now {task.id}"]
    if task.held and standing.block is not None:
        return order_block.to_resolve(standing.block)
    return []


def _advice_for_dead(task: Task, standing: Standing) -> list[str]:
    ending, last = ended(task), task.last_attempt
    advice = [ADVICE[ending.cls]] if ending.cls is not None and ending.cls in ADVICE else []
    if last is not None and last.outcome.cls.name == ending.cls and advice:
        advice = [judgement.advice(last.outcome)]
    if task.dead_letter_id is None:
        return [*advice, "It cannot be redriven: its dead letter was deleted or is past its retention."]
    compensated = standing.compensation_id is not None
    command = f"taskqueue dead redrive {task.dead_letter_id}{' --force' if compensated else ''}"
    advice.append(f"{_SAFETY[ending.worst_partial]} To redrive it, run: {command}")
    if compensated:
        advice.append(
            f"Task {standing.compensation_id} was submitted to compensate for this death: see how it ended; for its"
            " sake a redrive needs --force."
        )
    if standing.block is not None:
        advice.append(order_block.to_resolve(standing.block)[-1])
    return advice


_SAFETY = {
    Partial.NO: f"A redrive is safe: {WORK[Partial.NO]} in any attempt.",
    Partial.POSSIBLE: f"Check before you redrive: {WORK[Partial.POSSIBLE]}.",
    Partial.LIKELY: f"Check before you redrive: {WORK[Partial.LIKELY]}.",
}


def _caveats(task: Task) -> list[str]:
    found = []
    if task.spec.cause is not None:
        found.append(
            f"This is a webhook: it tells of task {task.spec.cause.task_id}, whose state it never changes. Only 410 or"
            " a forbidden address stops it early."
        )
    if is_event(task.spec.target_url):
        found.append(EVENT_CAVEAT)
    return found
