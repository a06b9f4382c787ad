"""Queues, flow keys, what blocks an ordering key, breakers, and the strands that the claim visits.

Revision 0003, after 0002. Tasks that wait already are placed by the workers' upkeep, a batch at a time: there may be a
million of them, and nobody should wait for that here.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from taskqueue.store.columns import Id, Instant

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As for the hot table: few rows, which every claim changes.
_STORAGE = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_cost_delay": 0,
}
_LEASED, _UNLEASED = "worker is not null", "worker is null"
_WAITING = sa.text("lease_token is null and not held")
_LIMITS = "concurrency > 0 and rate_limit > 0 and rate_period > 0 and rate_burst > 0"
_RATE = "(rate_limit is null) = (rate_period is null)"
_VERBS = {"0002": "verb in ('redrive')", "0003": "verb in ('redrive', 'cancel', 'run-now')"}


def upgrade() -> None:
    _create_queues()
    _create_flow_keys()
    _create_order_blocks()
    _create_origins()
    _create_strands()
    _create_wakes()
    op.add_column("ready", sa.Column("strand", sa.BigInteger(), nullable=True))
    op.drop_index("ix_ready_due", "ready")
    _create_index("ix_ready_waiting", "ready", ["strand", "not_before", "project"], _WAITING)
    _find_leases_by(_LEASED, _UNLEASED)
    _set_verbs(_VERBS["0003"])
    if op.get_bind().dialect.name == "postgresql":
        options = ", ".join(f"{name} = {value}" for name, value in _STORAGE.items())
        for table in ("strands", "wakes"):
            op.execute(f"alter table {table} set ({options})")


def downgrade() -> None:
    op.execute("delete from operations where verb <> 'redrive'")
    _set_verbs(_VERBS["0002"])
    _find_leases_by("lease_token is not null", "lease_token is null")
    op.drop_index("ix_ready_waiting", "ready")
    _create_index("ix_ready_due", "ready", ["not_before", "project"], _WAITING)
    op.drop_column("ready", "strand")
    for table in ("wakes", "strands", "origins", "order_blocks", "flow_keys", "queues"):
        op.drop_table(table)


def _create_queues() -> None:
    op.create_table(
        "queues",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        *_limits(),
        sa.Column("on_death", sa.Text(), nullable=False),
        sa.Column("defaults", sa.LargeBinary(), nullable=True),
        *_times(),
        *_checks("queues"),
        sa.CheckConstraint("on_death in ('skip', 'block', 'park')", name=op.f("ck_queues_on_death")),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_queues")),
    )


def _create_flow_keys() -> None:
    op.create_table(
        "flow_keys",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        *_limits(),
        *_times(),
        *_checks("flow_keys"),
        sa.PrimaryKeyConstraint("project", "key", name=op.f("pk_flow_keys")),
    )


def _create_order_blocks() -> None:
    op.create_table(
        "order_blocks",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("ordering_key", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_id", Id(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("dead_letter_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=True),
        sa.Column("last_letter", Id(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("kind in ('block', 'park')", name=op.f("ck_order_blocks_kind")),
        *(
            sa.CheckConstraint(f"(kind = 'park') = ({name} is not null)", name=op.f(f"ck_order_blocks_{name}"))
            for name in ("last_position", "last_letter")
        ),
        sa.PrimaryKeyConstraint("project", "queue", "ordering_key", "position", name=op.f("pk_order_blocks")),
    )
    op.create_index("ix_order_blocks_task", "order_blocks", ["project", "task_id"])
    _create_index(
        "ix_order_blocks_parking", "order_blocks", ["last_letter", "project"], sa.text("last_position is not null")
    )


def _create_origins() -> None:
    op.create_table(
        "origins",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("open_until", Instant(), nullable=True),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.Column("window_at", Instant(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("former_failures", sa.Integer(), nullable=False),
        sa.Column("former_calls", sa.Integer(), nullable=False),
        sa.CheckConstraint("state in ('closed', 'open', 'probing', 'slow')", name=op.f("ck_origins_state")),
        sa.CheckConstraint("(state = 'open') = (open_until is not null)", name=op.f("ck_origins_open")),
        sa.PrimaryKeyConstraint("project", "origin", name=op.f("pk_origins")),
    )


def _create_strands() -> None:
    op.create_table(
        "strands",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("flow_key", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("look_at", Instant(), nullable=True),
        sa.Column("turn_at", Instant(), nullable=True),
        sa.Column("blocked_on", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", "project", name=op.f("pk_strands")),
    )
    looked_at, blocked = sa.text("look_at is not null"), sa.text("blocked_on is not null")
    _create_index("ix_strands_turn", "strands", ["project", "priority", "look_at"], looked_at)
    _create_index("ix_strands_next", "strands", ["look_at", "project"], looked_at)
    _create_index("ix_strands_blocked", "strands", ["project", "blocked_on"], blocked)


def _create_wakes() -> None:
    op.create_table(
        "wakes",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("strand", sa.BigInteger(), nullable=False),
        sa.Column("look_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wakes")),
    )


def _find_leases_by(leased: str, unleased: str) -> None:
    op.drop_index("ix_ready_leased", "ready")
    op.drop_index("ix_ready_expiry", "ready")
    _create_index("ix_ready_leased", "ready", ["project", "flow_key"], sa.text(leased))
    _create_index("ix_ready_expiry", "ready", ["expires_at", "project"], sa.text(unleased))


def _limits() -> list[sa.Column[Any]]:
    return [
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("rate_limit", sa.Integer(), nullable=True),
        sa.Column("rate_period", sa.Float(), nullable=True),
        sa.Column("rate_burst", sa.Integer(), nullable=True),
        sa.Column("tokens", sa.Float(), nullable=True),
        sa.Column("tokens_at", Instant(), nullable=True),
    ]


def _times() -> list[sa.Column[Any]]:
    return [sa.Column(name, Instant(), nullable=False) for name in ("created_at", "updated_at")]


def _checks(table: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(_LIMITS, name=op.f(f"ck_{table}_limits")),
        sa.CheckConstraint(_RATE, name=op.f(f"ck_{table}_rate")),
    ]


def _create_index(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)


def _set_verbs(condition: str) -> None:
    """SQLite knows no other way to change a constraint than a new table; this one is small."""
    with op.batch_alter_table("operations") as table:
        table.drop_constraint(op.f("ck_operations_verb"), type_="check")
        table.create_check_constraint(op.f("ck_operations_verb"), condition)
