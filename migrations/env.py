"""Alembic's entry point: `taskqueue migrate` hands it a connection, the `alembic` command makes it open one."""

import os

from alembic import context
from sqlalchemy import Connection

from taskqueue.store import migrations
from taskqueue.store.schema import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=migrations.VERSION_TABLE,
        transactional_ddl=True,  # on SQLite too: the connection began before the first statement
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


held = context.config.attributes.get("connection")
if held is not None:
    run(held)
else:
    with migrations.locked(os.environ.get("TASKQUEUE_DATABASE_URL", "sqlite:///.taskqueue/taskqueue.db")) as own:
        run(own)
