"""Who may call: projects, and the keys that open them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Table, Text

from taskqueue.store.columns import Id, Instant, metadata

# Revision 0004 puts the project `default` in, and nothing takes one out again.
projects = Table(
    "projects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # comma separated
    Column("shown", Text, nullable=False),  # how the key begins
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of the key, which is nowhere
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("last_used_at", Instant),  # in no index: it is written all the time
    Column("revoked_at", Instant),
    Column("replaced_by", Id),
    CheckConstraint("length(hash) = 32", name="hash"),
)
# By what is shown of a key, not by its hash: the time that a look into an index takes may tell how much was right.
Index("ix_api_keys_shown", api_keys.c.shown, api_keys.c.project)
