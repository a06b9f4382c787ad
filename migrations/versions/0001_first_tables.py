"""The first tables.

Revision 0001, after nothing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from taskqueue.store.columns import Id, Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Vacuum the hot table by rows, not by share, and at full speed: it is small, and every claim reads it.
_READY_STORAGE = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_cost_delay": 0,
}


def upgrade() -> None:
    _create_tasks()
    _create_task_labels()
    _create_revisions()
    _create_ready()
    _create_attempts()
    _create_endings()
    _create_dead_letters()
    _create_idempotency_keys()
    _create_operations()
    _create_signing_secrets()


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", Id, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("target_url", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("target_host", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_events", sa.Text(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("timeout", sa.Float(), nullable=False),
        sa.Column("backoff", sa.LargeBinary(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("ordering_key", sa.Text(), nullable=True),
        sa.Column("flow_key", sa.Text(), nullable=True),
        sa.Column("labels", sa.LargeBinary(), nullable=True),
        sa.Column("metadata", sa.LargeBinary(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("cause_task_id", Id, nullable=True),
        sa.Column("cause_generation", sa.Integer(), nullable=True),
        sa.Column("cause_seq", sa.Integer(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("run_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", "project", name=op.f("pk_tasks")),
        sa.CheckConstraint("kind in ('task', 'webhook')", name=op.f("ck_tasks_kind")),
        sa.CheckConstraint("priority between 0 and 9", name=op.f("ck_tasks_priority")),
        sa.CheckConstraint("retries >= 0 and timeout > 0", name=op.f("ck_tasks_bounds")),
        sa.CheckConstraint("(kind = 'webhook') = (cause_task_id is not null)", name=op.f("ck_tasks_cause")),
    )
    op.create_index("ix_tasks_newest", "tasks", ["project", "kind", "id"])
    op.create_index("ix_tasks_queue", "tasks", ["project", "queue", "id"])
    op.create_index("ix_tasks_target_host", "tasks", ["project", "target_host", "id"])
    op.create_index(
        "uq_tasks_cause",
        "tasks",
        ["project", "cause_task_id", "cause_generation", "cause_seq"],
        unique=True,
        **_where("cause_task_id is not null"),
    )


def _create_task_labels() -> None:
    op.create_table(
        "task_labels",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("project", "label", "task_id", name=op.f("pk_task_labels")),
    )
    op.create_index("ix_task_labels_task", "task_labels", ["project", "task_id"])


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("target_url", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("target_host", sa.Text(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("timeout", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "task_id", "generation", name=op.f("pk_revisions")),
    )


def _create_ready() -> None:
    op.create_table(
        "ready",
        sa.Column("task_id", Id, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("flow_key", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("ordering_key", sa.Text(), nullable=True),
        sa.Column("lane_position", sa.BigInteger(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("not_before", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("charged", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("deferred", sa.Integer(), nullable=False),
        sa.Column("memory", sa.LargeBinary(), nullable=True),
        sa.Column("lease_token", Id, nullable=True),
        sa.Column("lease_until", Instant, nullable=True),
        sa.Column("attempt_id", Id, nullable=True),
        sa.Column("started_at", Instant, nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "project", name=op.f("pk_ready")),
        sa.CheckConstraint("(lease_token is null) = (lease_until is null)", name=op.f("ck_ready_lease_until")),
        sa.CheckConstraint("(lease_token is null) = (attempt_id is null)", name=op.f("ck_ready_attempt")),
        sa.CheckConstraint("(ordering_key is null) = (lane_position is null)", name=op.f("ck_ready_lane")),
        sa.CheckConstraint("not (held and ordering_key is null)", name=op.f("ck_ready_held")),
        sa.CheckConstraint("not (held and lease_token is not null)", name=op.f("ck_ready_held_or_leased")),
        sa.CheckConstraint("not (cancelled and lease_token is null)", name=op.f("ck_ready_cancelled")),
        postgresql_with=_READY_STORAGE,
    )
    op.create_index("ix_ready_due", "ready", ["not_before", "project"], **_where("lease_token is null and not held"))
    op.create_index("ix_ready_leased", "ready", ["project", "flow_key"], **_where("lease_token is not null"))
    op.create_index(
        "ix_ready_lane",
        "ready",
        ["project", "queue", "ordering_key", "lane_position"],
        **_where("ordering_key is not null"),
    )
    op.create_index("ix_ready_expiry", "ready", ["expires_at", "project"], **_where("lease_token is null"))


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", Id, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("charged", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("partial", sa.SmallInteger(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("timings", sa.LargeBinary(), nullable=True),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), nullable=False),
        sa.Column("response_headers", sa.LargeBinary(), nullable=True),
        sa.Column("response_body", sa.LargeBinary(), nullable=True),
        sa.Column("response_truncated", sa.Boolean(), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("finished_at", Instant, nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "project", name=op.f("pk_attempts")),
        sa.UniqueConstraint(
            "project", "task_id", "generation", "number", name=op.f("uq_attempts_project_task_id_generation_number")
        ),
    )


def _create_endings() -> None:
    op.create_table(
        "endings",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("partial", sa.SmallInteger(), nullable=False),
        sa.Column("attempt_id", Id, nullable=True),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("charged", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("deferred", sa.Integer(), nullable=False),
        sa.Column("finished_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("project", "task_id", "generation", name=op.f("pk_endings")),
        sa.CheckConstraint("state in ('succeeded', 'dead', 'cancelled')", name=op.f("ck_endings_state")),
        sa.CheckConstraint("(state = 'dead') = (reason is not null)", name=op.f("ck_endings_reason")),
    )
    op.create_index("ix_endings_state", "endings", ["project", "state", "task_id"])
    op.create_index("ix_endings_class", "endings", ["project", "class", "task_id"])
    aged = ["finished_at", "project"]
    op.create_index("ix_endings_never_died", "endings", aged, **_where("state <> 'dead' and generation = 1"))
    op.create_index("ix_endings_once_died", "endings", aged, **_where("(state = 'dead' or generation > 1)"))


def _create_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", Id, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("target_host", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("partial", sa.SmallInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("died_at", Instant, nullable=False),
        sa.Column("redriven_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id", "project", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint(
            "project", "task_id", "generation", name=op.f("uq_dead_letters_project_task_id_generation")
        ),
    )
    op.create_index("ix_dead_letters_newest", "dead_letters", ["project", "id"])
    op.create_index("ix_dead_letters_task", "dead_letters", ["project", "task_id", "id"])
    op.create_index("ix_dead_letters_open", "dead_letters", ["project", "id"], **_where("redriven_at is null"))
    for name in ("kind", "queue", "class", "reason", "target_host", "fingerprint"):
        columns = ["project", name, "id"]
        op.create_index(f"ix_dead_letters_{name}", "dead_letters", columns, **_where("redriven_at is null"))
    op.create_index("ix_dead_letters_age", "dead_letters", ["died_at", "project"])


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("task_ids", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("project", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_expiry", "idempotency_keys", ["expires_at", "project"])


def _create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", Id, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("filter", sa.LargeBinary(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=True),
        sa.Column("matched", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("cursor", Id, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("advanced_at", Instant, nullable=False),
        sa.Column("finished_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id", "project", name=op.f("pk_operations")),
        sa.CheckConstraint("verb in ('redrive')", name=op.f("ck_operations_verb")),
    )
    op.create_index("ix_operations_open", "operations", ["project", "id"], **_where("finished_at is null"))
    op.create_index("ix_operations_age", "operations", ["finished_at", "project"])


def _create_signing_secrets() -> None:
    op.create_table(
        "signing_secrets",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_signing_secrets")),
    )


def _where(condition: str, sqlite: str | None = None) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(sqlite or condition)}


_TABLES = (
    "signing_secrets",
    "operations",
    "idempotency_keys",
    "dead_letters",
    "endings",
    "attempts",
    "ready",
    "revisions",
    "task_labels",
    "tasks",
)
