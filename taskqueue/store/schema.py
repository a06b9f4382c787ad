"""Tables, indexes and constraints. A task is inserted once, lives as one narrow row of ``ready``, and leaves history.

Every table, key and index carries ``project``: it is part of a row's identity, not a filter put on later.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from taskqueue.store.access_tables import api_keys as api_keys
from taskqueue.store.access_tables import projects as projects
from taskqueue.store.columns import Id, Instant, partial_index
from taskqueue.store.columns import metadata as metadata
from taskqueue.store.queue_tables import flow_keys as flow_keys
from taskqueue.store.queue_tables import order_blocks as order_blocks
from taskqueue.store.queue_tables import origins as origins
from taskqueue.store.queue_tables import queues as queues
from taskqueue.store.queue_tables import strands as strands
from taskqueue.store.queue_tables import wakes as wakes

# Inserted at submit, never updated.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("target_url", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("target_host", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("headers", LargeBinary),  # JSON pairs; NULL for none
    Column("content_type", Text),
    Column("webhook_url", Text),
    Column("webhook_events", Text),  # comma separated; NULL for the three endings
    Column("retries", Integer, nullable=False),
    Column("timeout", Float, nullable=False),  # seconds
    Column("backoff", LargeBinary),  # JSON; NULL: the outcome class decides
    Column("priority", SmallInteger, nullable=False),
    Column("ordering_key", Text),
    Column("flow_key", Text),
    Column("labels", LargeBinary),  # JSON list; NULL for none; searched through task_labels
    Column("metadata", LargeBinary),  # JSON text, verbatim
    Column("traceparent", Text),
    Column("cause_task_id", Id),  # of a webhook: the state change it tells of
    Column("cause_generation", Integer),
    Column("cause_seq", Integer),
    Column("created_at", Instant, nullable=False),
    Column("run_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("policy", LargeBinary),  # JSON; NULL: nothing was said about failures
    Column("follow_ups", LargeBinary),  # JSON; NULL for none
    Column("parent_id", Id),  # of a follow-up: the task it follows
    Column("root_id", Id),  # and the first of their chain
    Column("body", LargeBinary),  # the caller's bytes, verbatim; last, for SQLite reads a row from its start
    CheckConstraint("kind in ('task', 'webhook')", name="kind"),
    CheckConstraint("priority between 0 and 9", name="priority"),
    CheckConstraint("retries >= 0 and timeout > 0", name="bounds"),
    CheckConstraint("(kind = 'webhook') = (cause_task_id is not null)", name="cause"),
    CheckConstraint("(parent_id is null) = (root_id is null)", name="chain"),
)
Index("ix_tasks_newest", tasks.c.project, tasks.c.kind, tasks.c.id)
Index("ix_tasks_queue", tasks.c.project, tasks.c.queue, tasks.c.id)
Index("ix_tasks_target_host", tasks.c.project, tasks.c.target_host, tasks.c.id)
partial_index("ix_tasks_chain", tasks.c.project, tasks.c.root_id, tasks.c.id, where=tasks.c.root_id.is_not(None))
# One webhook per state change and no more, whoever settles (promise A12).
partial_index(
    "uq_tasks_cause",
    tasks.c.project,
    tasks.c.cause_task_id,
    tasks.c.cause_generation,
    tasks.c.cause_seq,
    unique=True,
    where=tasks.c.cause_task_id.is_not(None),
)

task_labels = Table(
    "task_labels",
    metadata,
    Column("project", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("task_id", Id, primary_key=True),
)
Index("ix_task_labels_task", task_labels.c.project, task_labels.c.task_id)

# Inserted by an edited redrive: what is sent from this generation on. NULL: as before.
revisions = Table(
    "revisions",
    metadata,
    Column("project", Text, primary_key=True),
    Column("task_id", Id, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("target_url", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("target_host", Text, nullable=False),
    Column("headers", LargeBinary),
    Column("body", LargeBinary),
    Column("content_type", Text),
    Column("retries", Integer, nullable=False),
    Column("timeout", Float, nullable=False),
)

# The hot table: one row while a task lives. Without a lease it is queued, with one running, with `cancelled` set it is
# a tombstone that holds its lane until the cancelled attempt is off the wire.
ready = Table(
    "ready",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("flow_key", Text, nullable=False),  # the origin, unless the caller named one
    Column("origin", Text, nullable=False),
    Column("ordering_key", Text),
    Column("lane_position", BigInteger),  # within the ordering key, in commit order
    Column("held", Boolean, nullable=False),  # waits behind an older task of its ordering key
    Column("priority", SmallInteger, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("revision", Integer),  # the row of `revisions` that says what is sent; NULL: as submitted
    Column("seq", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("charged", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("deferred", Integer, nullable=False),
    Column("memory", LargeBinary),
    Column("lease_token", Id),
    Column("lease_until", Instant),  # in no index: extending a lease must stay cheap
    Column("attempt_id", Id),
    Column("started_at", Instant),
    Column("worker", Text),
    Column("cancelled", Boolean, nullable=False),
    Column("strand", BigInteger),  # NULL: of an older version, until a chore has placed it
    CheckConstraint("(lease_token is null) = (lease_until is null)", name="lease_until"),
    CheckConstraint("(lease_token is null) = (attempt_id is null)", name="attempt"),
    CheckConstraint("(ordering_key is null) = (lane_position is null)", name="lane"),
    CheckConstraint("not (held and ordering_key is null)", name="held"),
    CheckConstraint("not (held and lease_token is not null)", name="held_or_leased"),
    CheckConstraint("not (cancelled and lease_token is null)", name="cancelled"),
)
# One spelling for the index and for every query that should use it: SQLite compares the words. And another column where
# tasks are not looked for by strand: as long as PostgreSQL thinks that the table is empty, every index that it may use
# looks like the best, so none may be one that it can use for the claim, or to find a lease by its token.
WAITING = text("lease_token is null and not held")
LEASED, UNLEASED = ready.c.worker.is_not(None), ready.c.worker.is_(None)
partial_index("ix_ready_waiting", ready.c.strand, ready.c.not_before, ready.c.project, where=WAITING)
partial_index("ix_ready_leased", ready.c.project, ready.c.flow_key, where=LEASED)
partial_index(
    "ix_ready_lane",
    ready.c.project,
    ready.c.queue,
    ready.c.ordering_key,
    ready.c.lane_position,
    where=ready.c.ordering_key.is_not(None),
)
partial_index("ix_ready_expiry", ready.c.expires_at, ready.c.project, where=UNLEASED)

# Inserted when an attempt closes: by settle, by cancel, or by reclaim for a worker that was lost.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("task_id", Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("class", Text, nullable=False),
    Column("charged", Boolean, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("partial", SmallInteger, nullable=False),
    Column("status_code", Integer),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("timings", LargeBinary),  # JSON list of seconds per phase
    Column("bytes_sent", BigInteger, nullable=False),
    Column("bytes_received", BigInteger, nullable=False),
    Column("response_headers", LargeBinary),  # JSON pairs
    Column("response_body", LargeBinary),  # an excerpt
    Column("response_truncated", Boolean, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("worker", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="call"),
    Column("fingerprint", Text),  # of a failure
    Column("stack_trace", LargeBinary),  # JSON list; NULL for none
    UniqueConstraint("project", "task_id", "generation", "number"),
    CheckConstraint("kind in ('call', 'reconcile')", name="kind"),
)

# Inserted when a generation of a task ends.
endings = Table(
    "endings",
    metadata,
    Column("project", Text, primary_key=True),
    Column("task_id", Id, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("class", Text),
    Column("partial", SmallInteger, nullable=False),
    Column("attempt_id", Id),
    Column("seq", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("charged", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("deferred", Integer, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),  # of this generation: a redrive moves it
    CheckConstraint("state in ('succeeded', 'dead', 'cancelled')", name="state"),
    CheckConstraint("(state = 'dead') = (reason is not null)", name="reason"),
)
Index("ix_endings_state", endings.c.project, endings.c.state, endings.c.task_id)
Index("ix_endings_class", endings.c["project"], endings.c["class"], endings.c.task_id)
# Two ages, for who ever died is kept longer: none walks over what only the other lets go. Spelled as in the queries.
NEVER_DIED = text("state <> 'dead' and generation = 1")
ONCE_DIED = text("(state = 'dead' or generation > 1)")
partial_index("ix_endings_never_died", endings.c.finished_at, endings.c.project, where=NEVER_DIED)
partial_index("ix_endings_once_died", endings.c.finished_at, endings.c.project, where=ONCE_DIED)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("task_id", Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("target_host", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("class", Text),
    Column("partial", SmallInteger, nullable=False),  # the worst of all attempts
    Column("fingerprint", Text, nullable=False),
    Column("died_at", Instant, nullable=False),
    Column("redriven_at", Instant),
    Column("compensation_id", Id),  # the task that was submitted because of this death
    UniqueConstraint("project", "task_id", "generation"),
)
Index("ix_dead_letters_newest", dead_letters.c.project, dead_letters.c.id)
Index("ix_dead_letters_task", dead_letters.c.project, dead_letters.c.task_id, dead_letters.c.id)
# Whoever looks for what can be redriven does not walk over what was: after an outage that may be nearly all there is.
NOT_REDRIVEN = dead_letters.c.redriven_at.is_(None)
partial_index("ix_dead_letters_open", dead_letters.c.project, dead_letters.c.id, where=NOT_REDRIVEN)
for _name in ("kind", "queue", "class", "reason", "target_host", "fingerprint"):
    partial_index(
        f"ix_dead_letters_{_name}", dead_letters.c.project, dead_letters.c[_name], dead_letters.c.id, where=NOT_REDRIVEN
    )
Index("ix_dead_letters_age", dead_letters.c.died_at, dead_letters.c.project)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("task_ids", LargeBinary, nullable=False),  # 16 bytes each, in order
    Column("expires_at", Instant, nullable=False),
)
Index("ix_idempotency_keys_expiry", idempotency_keys.c.expires_at, idempotency_keys.c.project)

# Bulk work with progress, carried on by the workers' chores.
operations = Table(
    "operations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("verb", Text, nullable=False),
    Column("filter", LargeBinary, nullable=False),  # JSON
    Column("rate", Float),  # rows per second; NULL: as fast as it goes
    Column("matched", BigInteger, nullable=False),  # when it began
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cursor", Id),  # the last row looked at
    Column("created_at", Instant, nullable=False),
    Column("advanced_at", Instant, nullable=False),
    Column("finished_at", Instant),
    CheckConstraint("verb in ('redrive', 'cancel', 'run-now')", name="verb"),
)
partial_index("ix_operations_open", operations.c.project, operations.c.id, where=operations.c.finished_at.is_(None))
Index("ix_operations_age", operations.c.finished_at, operations.c.project)

signing_secrets = Table(
    "signing_secrets",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)
