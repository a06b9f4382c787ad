"""Long lines of waiting tasks, submitted as one of each strand and then multiplied."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Table, text

from taskqueue.store.database import Database
from taskqueue.store.schema import ready, tasks
from tests.support.builders import new_task, submit

_SERIES = {
    "postgresql": "(select n from generate_series(1, cast(:copies as integer)) n)",
    "sqlite": """(with recursive counted (n) as
                  (select 1 where :copies > 0 union all select n + 1 from counted where n < :copies)
                  select n from counted)""",
}
_ID = {
    "postgresql": "cast(lpad(to_hex(cast(n as bigint) * 100000 + one.place), 32, '0') as uuid)",
    "sqlite": "cast(printf('%016d', n * 100000 + one.place) as blob)",
}
_LATER = {"postgresql": "one.not_before + n * interval '1 us'", "sqlite": "one.not_before + n"}


def line_up(
    database: Database, *, strands: int, each: int, whole: int | None = None, projects: tuple[str, ...] = ("default",)
) -> None:
    """Have ``each`` due tasks wait in ``strands`` strands, one flow key each, that take turns through ``projects``.

    Of each strand only the first ``whole`` tasks are there beyond their hot rows, where no more will be claimed: the
    rows of tasks cost the most to insert.
    """
    submit_lines(database, strands, projects)
    with database.begin() as conn:
        _multiply(conn, tasks, "id", (whole or each) - 1, projects)
        _multiply(conn, ready, "task_id", each - 1, projects)


def submit_lines(database: Database, strands: int, projects: tuple[str, ...], **over: Any) -> None:
    """One task for each of so many flow keys."""
    flow_keys = [f"flow {number}" for number in range(strands)]
    submit(
        database,
        *(
            new_task(flow_key=key, project=projects[number % len(projects)], **over)
            for number, key in enumerate(flow_keys)
        ),
    )


def asleep(database: Database, projects: tuple[str, ...]) -> None:
    """Have one task wait in each project that is due in an hour."""
    submit_lines(database, len(projects), projects, delay=timedelta(hours=1))


def _multiply(conn: Connection, table: Table, key: str, copies: int, projects: tuple[str, ...]) -> None:
    dialect = conn.dialect.name
    values = {column.name: f'one."{column.name}"' for column in table.columns}
    values[key] = _ID[dialect]
    if table is ready:
        values["not_before"] = _LATER[dialect]
    names = ", ".join(f"'{project}'" for project in projects)
    conn.execute(
        text(f"""
            insert into {table.name} ({", ".join(f'"{name}"' for name in values)})
            select {", ".join(values.values())}
              from {_SERIES[dialect]} series
             cross join (select {table.name}.*, row_number() over (order by {key}) as place from {table.name}
                          where project in ({names}) and flow_key like 'flow %') one
        """),
        {"copies": copies},
    )
