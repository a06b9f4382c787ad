"""What must hold of the whole database after every commit, however it came about."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, literal, or_, select, union_all

from taskqueue.core.policy import Policy
from taskqueue.core.rota import LOOK_AGAIN
from taskqueue.core.terms import Limits
from taskqueue.store.database import Database
from taskqueue.store.policies import follow_ups_of, policy_of
from taskqueue.store.rows import ids_of
from taskqueue.store.schema import (
    WAITING,
    attempts,
    dead_letters,
    endings,
    flow_keys,
    idempotency_keys,
    order_blocks,
    origins,
    queues,
    ready,
    strands,
    task_labels,
    tasks,
    wakes,
)

_LOST = ("worker_lost", "interrupted")
_TOLD_BY_DEFAULT = "cancelled,dead,succeeded"
_NOT_FAILURES = ("success", "cancelled", "released")
Key = tuple[str, UUID]


def faults(database: Database, *, limits: Limits | None = None) -> list[str]:
    """Every way in which the database contradicts itself, as sentences; empty when all is well."""
    with database.read() as conn:
        found = list(_Picture(conn, limits or Limits()).faults())
        return found + list(overlooked(conn, now=database.now(conn)))


def overlooked(conn: Connection, *, now: datetime) -> Iterator[str]:
    """Waiting tasks at which no claim would look in time, though nothing that lasts holds them back."""
    late = or_(
        strands.c.look_at.is_(None),
        and_(strands.c.look_at > ready.c.not_before, strands.c.look_at > now + LOOK_AGAIN),
    )
    kind = (ready.c.project, ready.c.strand, ready.c.queue, ready.c.flow_key, ready.c.origin, strands.c.look_at)
    same = and_(strands.c.project == ready.c.project, strands.c.id == ready.c.strand)
    found = conn.execute(
        select(*kind, func.min(ready.c.not_before).label("not_before"), func.count().label("tasks"))
        .join_from(ready, strands, same, isouter=True)
        .where(WAITING, ready.c.expires_at > now, ready.c.strand.is_not(None), late)
        .group_by(*kind)
    ).all()
    told = {
        (row.project, row.strand): row.look_at for row in conn.execute(select(wakes).order_by(wakes.c.look_at.desc()))
    }
    lasting = {tuple(row) for row in conn.execute(_LASTING)}
    for row in found:
        limits = {("queue", row.project, row.queue), ("flow", row.project, row.flow_key)}
        wake = told.get((row.project, row.strand))
        in_time = wake is not None and wake <= max(row.not_before, now + LOOK_AGAIN)
        if not in_time and not lasting & {*limits, ("origin", row.project, row.origin)}:
            yield f"{row.tasks} tasks due at {row.not_before} or later are looked at only at {row.look_at}"


# Pauses, rates and breakers may hold tasks back for longer than caps do.
_LASTING = union_all(
    select(literal("queue"), queues.c.project, queues.c.name).where(queues.c.paused | queues.c.rate_limit.is_not(None)),
    select(literal("flow"), flow_keys.c.project, flow_keys.c.key).where(
        flow_keys.c.paused | flow_keys.c.rate_limit.is_not(None)
    ),
    select(literal("origin"), origins.c.project, origins.c.origin),
)


class _Picture:
    """All rows of one moment, by task."""

    def __init__(self, conn: Connection, limits: Limits) -> None:
        self.limits = limits
        self.tasks = {(row.project, row.id): row for row in conn.execute(select(tasks))}
        self.ready = {(row.project, row.task_id): row for row in conn.execute(select(ready))}
        self.endings = _grouped(conn, endings, endings.c.generation)
        self.attempts = _grouped(conn, attempts, attempts.c.generation, attempts.c.number)
        self.letters = _grouped(conn, dead_letters, dead_letters.c.generation)
        self.labels = {(row.project, row.task_id) for row in conn.execute(select(task_labels))}
        self.keys = conn.execute(select(idempotency_keys)).all()
        self.blocks = conn.execute(select(order_blocks)).all()
        self.webhooks: defaultdict[Key, list[Any]] = defaultdict(list)
        self.children: defaultdict[Key, list[Any]] = defaultdict(list)
        for row in self.tasks.values():
            if row.cause_task_id is not None:
                self.webhooks[row.project, row.cause_task_id].append(row)
            if row.parent_id is not None:
                self.children[row.project, row.parent_id].append(row)

    def faults(self) -> Iterator[str]:
        for name, rows in (("ready", self.ready), ("endings", self.endings), ("attempts", self.attempts)):
            yield from (f"{name} knows task {key[1]}, which is none" for key in rows if key not in self.tasks)
        yield from (f"a dead letter of {key[1]}, which is no task" for key in self.letters if key not in self.tasks)
        yield from (f"a label of {key[1]}, which is no task" for key in self.labels if key not in self.tasks)
        for key in self.tasks:
            for fault in self._of_task(key):
                yield f"task {key[1]}: {fault}"
        yield from self._of_lanes()
        yield from self._of_blocks()
        for row in self.keys:
            missing = [task_id for task_id in ids_of(row.task_ids) if (row.project, task_id) not in self.tasks]
            yield from (f"key {row.key} stands for {task_id}, which is no task" for task_id in missing)

    def _of_task(self, key: Key) -> Iterator[str]:
        yield from self._of_state(key)
        yield from self._of_attempts(key)
        yield from self._of_deaths(key)
        yield from self._of_webhooks(key)
        yield from self._of_follow_ups(key)

    def _of_state(self, key: Key) -> Iterator[str]:
        hot, ends = self.ready.get(key), self.endings.get(key, [])
        generations = [end.generation for end in ends]
        newest = hot.generation if hot is not None else len(ends)
        ended = newest if hot is None or hot.cancelled else newest - 1
        if generations != list(range(1, ended + 1)):
            yield f"endings of generations {generations}, though {ended} have ended"
        if hot is None and not ends:
            yield "neither alive nor ended"
        if hot is not None and hot.cancelled and (not ends or ends[-1].state != "cancelled"):
            yield "a tombstone without a cancelled ending"
        if any(end.state != "dead" for end in ends[: newest - 1]):
            yield "a generation after one that did not die"
        counts = [end.seq for end in ends] + ([hot.seq] if hot is not None and not hot.cancelled else [])
        if sorted(set(counts)) != counts:
            yield f"seq does not grow from generation to generation: {counts}"

    def _of_attempts(self, key: Key) -> Iterator[str]:
        hot = self.ready.get(key)
        counters = {end.generation: (end, end.number) for end in self.endings.get(key, [])}
        if hot is not None and not hot.cancelled:
            counters[hot.generation] = (hot, hot.number - (hot.lease_token is not None))
        closed: defaultdict[int, list[Any]] = defaultdict(list)
        for attempt in self.attempts.get(key, []):
            closed[attempt.generation].append(attempt)
        if unknown := set(closed) - set(counters):
            yield f"attempts of generations {sorted(unknown)}, which never began"
        for generation, (row, number) in counters.items():
            found = closed[generation]
            if [attempt.number for attempt in found] != list(range(1, number + 1)):
                yield f"attempts {[attempt.number for attempt in found]} of {number} on record"
            charged = sum(attempt.charged for attempt in found)
            lost = sum(attempt._mapping["class"] in _LOST for attempt in found if attempt.kind == "call")
            policy = policy_of(self.tasks[key].policy)
            if (row.charged, row.lost + row.deferred) != (charged, len(found) - charged):
                yield f"counts {(row.charged, row.lost, row.deferred)} do not fit its attempts"
            if row.lost > lost or (row.lost < lost and not policy.all_rules):
                yield f"{row.lost} of {lost} lost attempts count as lost"
            if row.lost > self.limits.lost_limit + 1 or charged > self._budget(key, policy) + 1:
                yield f"tried too often: {charged} charged, {row.lost} lost"
            if policy.reconcile is None and any(attempt.kind != "call" for attempt in found):
                yield "somebody was asked, though nobody was named"

    def _budget(self, key: Key, policy: Policy) -> int:
        task = self.tasks[key]
        own = sum(rule.retries + 1 for rule in policy.all_rules if rule.retries is not None)
        return 10 if task.kind == "webhook" else int(task.retries) + own

    def _of_deaths(self, key: Key) -> Iterator[str]:
        hot, ends = self.ready.get(key), self.endings.get(key, [])
        deaths = [end.generation for end in ends if end.state == "dead"]
        letters = self.letters.get(key, [])
        if [letter.generation for letter in letters] != deaths:
            yield f"dead letters of generations {[letter.generation for letter in letters]} for deaths {deaths}"
        newest = hot.generation if hot is not None else len(ends)
        for letter in letters:
            if (letter.redriven_at is not None) != (letter.generation < newest):
                yield f"dead letter of generation {letter.generation} is marked wrongly as redriven or not"

    def _of_webhooks(self, key: Key) -> Iterator[str]:
        task = self.tasks[key]
        found = [(row.cause_generation, row.cause_seq, _kind(row)) for row in self.webhooks.get(key, [])]
        told = set() if task.webhook_events is None else set(task.webhook_events.split(","))
        asked = told or set(_TOLD_BY_DEFAULT.split(",")) if task.webhook_url and task.kind == "task" else set()
        due = {(end.generation, end.seq, end.state) for end in self.endings.get(key, []) if end.state in asked}
        if {each for each in found if each[2] != "attemptFailed"} != due:
            yield f"webhooks {sorted(found)} for endings {sorted(due)}"
        calls = [row for row in self.attempts.get(key, []) if row.kind == "call"]
        failures = [row for row in calls if row._mapping["class"] not in _NOT_FAILURES]
        told_of = sum(each[2] == "attemptFailed" for each in found)
        if told_of != (len(failures) if "attemptFailed" in asked else 0):
            yield f"{told_of} webhooks for {len(failures)} failed attempts"

    def _of_follow_ups(self, key: Key) -> Iterator[str]:
        """Exactly one for each ending that asks for one, in the database with it."""
        task = self.tasks[key]
        asked = follow_ups_of(task.follow_ups)
        letters = {letter.generation: letter.compensation_id for letter in self.letters.get(key, [])}
        if asked.on_failure is None and set(letters.values()) - {None}:
            yield "a death was compensated, though nobody asked for it"
        due = [generation for generation, compensation in letters.items() if compensation is not None]
        if asked.on_failure is not None and not asked.on_failure.match and len(due) < len(letters):
            yield f"{len(due)} of {len(letters)} deaths were compensated"
        due += [end.generation for end in self.endings.get(key, []) if asked.on_success and end.state == "succeeded"]
        found = self.children.get(key, [])
        if sorted(_generation(row) for row in found) != sorted(due):
            yield f"{len(found)} follow-ups for the endings of generations {sorted(due)}"
        if not {each for each in letters.values() if each is not None} <= {row.id for row in found}:
            yield "a dead letter names a compensation that is none"
        for row in found:
            if row.kind != "task" or row.root_id != (task.root_id or task.id):
                yield f"follow-up {row.id} hangs in the wrong chain"

    def _of_lanes(self) -> Iterator[str]:
        lanes: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(list)
        for row in self.ready.values():
            if row.ordering_key is not None:
                lanes[row.project, row.queue, row.ordering_key].append(row)
        for lane, rows in lanes.items():
            places = sorted(row.lane_position for row in rows)
            free = [row.lane_position for row in rows if not row.held]
            if len(set(places)) < len(places):
                yield f"lane {lane} has two tasks in one place: {places}"
            kept = [row.position for row in self.blocks if (row.project, row.queue, row.ordering_key) == lane]
            if free != [place for place in places[:1] if place < min(kept, default=place + 1)]:
                yield f"lane {lane} lets {free} go of {places}, where the dead keep {kept}"
            if set(kept) & set(places):
                yield f"lane {lane} has a living task in the place of a dead one: {kept}"

    def _of_blocks(self) -> Iterator[str]:
        for row in self.blocks:
            letters = self.letters.get((row.project, row.task_id), [])
            unsettled = [letter.id for letter in letters if letter.redriven_at is None]
            if row.kind == "block" and row.dead_letter_id not in unsettled:
                yield f"task {row.task_id} blocks its key, though its death is settled"


def _grouped(conn: Connection, table: Any, *order: Any) -> dict[Key, list[Any]]:
    found: defaultdict[Key, list[Any]] = defaultdict(list)
    for row in conn.execute(select(table).order_by(*order)):
        found[row.project, row.task_id].append(row)
    return dict(found)


def _kind(row: Any) -> str:
    return str(json.loads(row.body)["type"]).removeprefix("task.")


def _generation(follow_up: Any) -> int:
    """Of the ending that a follow-up was told of."""
    return int(json.loads(follow_up.body)["task"]["generation"])
