"""What callers say about failures, whom to ask, and what follows an ending.

Revision 0002, after 0001.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from taskqueue.store.columns import Id

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CHAIN = "(parent_id is null) = (root_id is null)"
_KIND = "kind in ('call', 'reconcile')"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("policy", sa.LargeBinary(), nullable=True))
    op.add_column("tasks", sa.Column("follow_ups", sa.LargeBinary(), nullable=True))
    op.add_column("tasks", sa.Column("parent_id", Id, nullable=True))
    _add_checked("tasks", sa.Column("root_id", Id, nullable=True), "blob", _CHAIN, name="ck_tasks_chain")
    _move_body_last()
    where = sa.text("root_id is not null")
    op.create_index("ix_tasks_chain", "tasks", ["project", "root_id", "id"], postgresql_where=where, sqlite_where=where)
    kind = sa.Column("kind", sa.Text(), nullable=False, server_default="call")
    _add_checked("attempts", kind, "text not null default 'call'", _KIND, name="ck_attempts_kind")
    op.add_column("attempts", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("stack_trace", sa.LargeBinary(), nullable=True))
    op.add_column("dead_letters", sa.Column("compensation_id", Id, nullable=True))


def downgrade() -> None:
    op.drop_index("ix_tasks_chain", "tasks")
    for table, names in _COLUMNS.items():
        for name in names:
            op.drop_column(table, name)


def _add_checked(table: str, column: sa.Column[Any], sqlite_type: str, condition: str, *, name: str) -> None:
    """Add a column together with the constraint that is about it: SQLite takes none for a table that exists."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"alter table {table} add column {column.name} {sqlite_type} constraint {name} check ({condition})")
    else:
        op.add_column(table, column)
        op.create_check_constraint(op.f(name), table, condition)


def _move_body_last() -> None:
    """SQLite reads a row from its start: what lay behind a large body could only be had by reading all of that."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("alter table tasks rename column body to former_body")
        op.add_column("tasks", sa.Column("body", sa.LargeBinary(), nullable=True))
        op.execute("update tasks set body = former_body where former_body is not null")
        op.drop_column("tasks", "former_body")


# A constraint goes with its column, so that one before those it also names.
_COLUMNS = {
    "dead_letters": ("compensation_id",),
    "attempts": ("stack_trace", "fingerprint", "kind"),
    "tasks": ("root_id", "parent_id", "follow_ups", "policy"),
}
