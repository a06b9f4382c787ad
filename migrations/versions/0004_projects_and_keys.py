"""Projects, and the API keys that open them.

Revision 0004, after 0003. Tasks that are there belong to the project `default`, as they always have.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from taskqueue.store.columns import Id, Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("project", name="pk_projects"),
    )
    op.bulk_insert(projects, [{"project": "default", "created_at": datetime.now(UTC)}])
    op.create_table(
        "api_keys",
        sa.Column("id", Id, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=True),
        sa.Column("last_used_at", Instant, nullable=True),
        sa.Column("revoked_at", Instant, nullable=True),
        sa.Column("replaced_by", Id, nullable=True),
        sa.PrimaryKeyConstraint("id", "project", name="pk_api_keys"),
        sa.CheckConstraint("length(hash) = 32", name=op.f("ck_api_keys_hash")),
    )
    op.create_index("ix_api_keys_shown", "api_keys", ["shown", "project"])


def downgrade() -> None:
    op.drop_table("api_keys")
    op.drop_table("projects")
