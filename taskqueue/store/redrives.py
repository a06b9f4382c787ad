"""Bulk redrive: dead letters by filter, oldest first."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from taskqueue.core.errors import Conflict
from taskqueue.core.task import DeadLetterId
from taskqueue.store import dead_letters
from taskqueue.store.bulk import Portion, Step
from taskqueue.store.database import Database
from taskqueue.store.dead_letters import DeadLetterFilter
from taskqueue.store.dialect import Lane
from taskqueue.store.schema import dead_letters as dead_letters_table
from taskqueue.store.schema import tasks


def until(wanted: DeadLetterFilter, now: datetime) -> DeadLetterFilter:
    """Of what is ``wanted``, the letters of deaths before ``now`` that nobody has redriven."""
    return replace(wanted, before=min(wanted.before or now, now), include_redriven=False)


def count(conn: Connection, project: str, wanted: DeadLetterFilter) -> int:
    """How many there are to redrive."""
    return dead_letters.count(conn, project, wanted)


def step(conn: Connection, database: Database, wanted: DeadLetterFilter, portion: Portion) -> Step:
    """Redrive a portion. A letter that cannot be redriven stops no other."""
    project = portion.project
    # Oldest first, by id; the cursor passes over what another redrive took meanwhile.
    statement = select(dead_letters_table.c.id).where(*dead_letters.conditions(project, wanted))
    if portion.cursor is not None:
        statement = statement.where(dead_letters_table.c.id > portion.cursor)
    ids = conn.execute(statement.order_by(dead_letters_table.c.id).limit(portion.limit)).scalars().all()
    # All lanes at once: one by one, in the order of the letters, they could be taken crosswise with a submit.
    lanes = conn.execute(_LANES, {"of_project": project, "ids": ids})
    database.dialect.lock_lanes(conn, [Lane(*lane) for lane in lanes])
    results = portion.each(ids, lambda id_: _redrive_one(conn, database, project, DeadLetterId(id_)))
    seen_all = len(results) == len(ids) < portion.limit
    return Step(results.count(True), results.count(False), None if seen_all else ids[len(results) - 1])


def _redrive_one(conn: Connection, database: Database, project: str, id_: DeadLetterId) -> bool | None:
    """Whether it was redriven; ``None`` where it may not be."""
    try:
        with conn.begin_nested():
            return True if dead_letters.redrive(conn, database, project, id_) is not None else None
    except Conflict:  # somebody pressed the button for this one, or its death was compensated
        return None
    except Exception as error:
        if database.dialect.transient(error):
            raise
        return False


_LANES = (
    select(tasks.c.project, tasks.c.queue, tasks.c.ordering_key)
    .join_from(dead_letters_table, tasks, tasks.c.id == dead_letters_table.c.task_id)
    .where(
        tasks.c.project == bindparam("of_project"),
        dead_letters_table.c.project == bindparam("of_project"),
        dead_letters_table.c.id.in_(bindparam("ids", expanding=True)),
        tasks.c.ordering_key.is_not(None),
    )
)
