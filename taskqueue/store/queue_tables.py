"""Where tasks wait and what may hold them back: queues, flow keys, origins, and the strands that the claim visits."""

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
)
from sqlalchemy.schema import SchemaItem

from taskqueue.store.columns import Id, Instant, metadata, partial_index


def _limits() -> tuple[SchemaItem, ...]:
    """What may be said of how much runs at once, or starts in a time, and what is left of that."""
    return (
        Column("paused", Boolean, nullable=False),
        Column("concurrency", Integer),  # NULL: no limit
        Column("rate_limit", Integer),  # attempts that may start in one period; NULL: no limit
        Column("rate_period", Float),  # seconds
        Column("rate_burst", Integer),
        Column("tokens", Float),  # what was left of the rate when a claim last took of it; NULL: all
        Column("tokens_at", Instant),
        CheckConstraint("concurrency > 0 and rate_limit > 0 and rate_period > 0 and rate_burst > 0", name="limits"),
        CheckConstraint("(rate_limit is null) = (rate_period is null)", name="rate"),
    )


# A row only where somebody said something: any other queue has no limits and the service's own defaults.
queues = Table(
    "queues",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *_limits(),
    Column("on_death", Text, nullable=False),
    Column("defaults", LargeBinary),  # JSON: of the fields of a submit; NULL for none
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("on_death in ('skip', 'block', 'park')", name="on_death"),
)

# The same limits for whatever shares a flow key, in every queue.
flow_keys = Table(
    "flow_keys",
    metadata,
    Column("project", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    *_limits(),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

# Where a dead task keeps its place in the lane of its ordering key: what stands behind it waits until this row is gone.
order_blocks = Table(
    "order_blocks",
    metadata,
    Column("project", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("ordering_key", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # the lane_position of the task that died
    Column("task_id", Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("dead_letter_id", Id, nullable=False),
    Column("kind", Text, nullable=False),  # block: until its death is resolved; park: until those behind it are parked
    Column("last_position", BigInteger),  # of what is to be parked
    Column("last_letter", Id),  # the newest dead letter of what is parked so far; before that, the first death's own
    Column("created_at", Instant, nullable=False),
    CheckConstraint("kind in ('block', 'park')", name="kind"),
    CheckConstraint("(kind = 'park') = (last_position is not null)", name="last_position"),
    CheckConstraint("(kind = 'park') = (last_letter is not null)", name="last_letter"),
)
Index("ix_order_blocks_task", order_blocks.c.project, order_blocks.c.task_id)
partial_index(
    "ix_order_blocks_parking",
    order_blocks.c.last_letter,
    order_blocks.c.project,
    where=order_blocks.c.last_position.is_not(None),
)

# The breaker of an origin; a row only for origins that failed lately.
origins = Table(
    "origins",
    metadata,
    Column("project", Text, primary_key=True),
    Column("origin", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),  # when it came into this state
    Column("open_until", Instant),
    Column("trips", Integer, nullable=False),  # how often it opened since it last was sound
    # Two windows side by side, so that the rate of errors never rests on a window that has just begun.
    Column("window_at", Instant, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("former_failures", Integer, nullable=False),
    Column("former_calls", Integer, nullable=False),
    CheckConstraint("state in ('closed', 'open', 'probing', 'slow')", name="state"),
    CheckConstraint("(state = 'open') = (open_until is not null)", name="open"),
)

# All that waits with the same limits and the same priority is one strand. It says only when the claim should look at it
# next, so what is full, paused or broken costs one look now and then, however many tasks wait in it.
strands = Table(
    "strands",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # a hash of the next five, see strands.py
    Column("project", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("flow_key", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("look_at", Instant),  # NULL: nothing waits, or what waits is paused
    Column("turn_at", Instant),  # since when it waits for its turn, which a limit does not take from it
    Column("blocked_on", Text),  # the limit it ran into, so that whoever frees a slot of it can wake the strand
)
_LOOKED_AT = strands.c.look_at.is_not(None)
partial_index("ix_strands_turn", strands.c.project, strands.c.priority, strands.c.look_at, where=_LOOKED_AT)
partial_index("ix_strands_next", strands.c.look_at, strands.c.project, where=_LOOKED_AT)
partial_index("ix_strands_blocked", strands.c.project, strands.c.blocked_on, where=strands.c.blocked_on.is_not(None))

# PostgreSQL alone: what others tell the claim, which alone moves strands. On SQLite there is one writer at a time.
wakes = Table(
    "wakes",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("strand", BigInteger, nullable=False),
    Column("look_at", Instant, nullable=False),
)
