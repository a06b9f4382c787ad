"""Hundreds of thousands of rows in seconds: copies of those that are there, each with an id of its own."""

from __future__ import annotations

from sqlalchemy import Connection, Table, text

from taskqueue.store.schema import (
    attempts,
    dead_letters,
    endings,
    idempotency_keys,
    metadata,
    ready,
    task_labels,
    tasks,
)

WAITING = {"postgresql": 200_000, "sqlite": 50_000}
LEASED, ENDED = 2_000, 20_000
_ID = {
    "postgresql": "cast(lpad(to_hex(n), 32, '0') as uuid)",
    "sqlite": "cast(printf('%016d', n) as blob)",
}
_LATER = {"postgresql": "{} + n * interval '1 ms'", "sqlite": "{} + n * 1000"}
_SERIES = {
    "postgresql": "(select n from generate_series(cast(:first as integer), :last) n)",
    "sqlite": """(with recursive counted (n) as
                  (select :first union all select n + 1 from counted where n < :last) select n from counted)""",
}


def crowd(conn: Connection) -> None:
    """Add so many waiting, leased and ended tasks. There must be one of each, one key and one label.

    Only the hot rows are all there: their tasks cost the most to insert, and a quarter of them makes the same plans.
    """
    alone, count = "not cancelled and ready.ordering_key is null", WAITING[conn.dialect.name]
    _copy(
        conn,
        tasks,
        f"root_id is null and id in (select task_id from ready where {alone})",
        1,
        WAITING["sqlite"] + ENDED,
    )
    _copy(conn, ready, f"lease_token is null and {alone}", 1, count)
    _copy(conn, ready, f"lease_token is not null and {alone}", count + 1, count + LEASED)
    ended = (count + LEASED + 1, count + LEASED + ENDED)
    _copy(conn, endings, "generation = 1", *ended)
    _copy(conn, attempts, "generation = 1", *ended)
    _copy(conn, dead_letters, "generation = 1", *ended)
    _copy(conn, idempotency_keys, "1 = 1", 1, ENDED)
    _copy(conn, task_labels, "1 = 1", 1, ENDED)
    conn.exec_driver_sql("analyze")


def clear(conn: Connection) -> None:
    """Empty every table, however full."""
    for table in metadata.sorted_tables:
        conn.exec_driver_sql(f"{'truncate' if conn.dialect.name == 'postgresql' else 'delete from'} {table.name}")


def _copy(conn: Connection, table: Table, which: str, first: int, last: int) -> None:
    """Copy one row ``which`` holds for, under the numbers from ``first`` to ``last``."""
    dialect = conn.dialect.name
    values = {column.name: f'one."{column.name}"' for column in table.columns}
    for name in {"id", "task_id", "lease_token", "attempt_id"} & values.keys():
        values[name] = f"case when {values[name]} is null then null else {_ID[dialect]} end"
    for name in {"not_before", "lease_until", "finished_at", "died_at"} & values.keys():
        values[name] = _LATER[dialect].format(values[name])
    if "key" in values:
        values["key"] = "'key-' || n"
    columns = ", ".join(f'"{name}"' for name in values)
    copied = conn.execute(
        text(f"""
            insert into {table.name} ({columns})
            select {", ".join(values.values())}
              from (select * from {table.name} where {which} limit 1) one cross join {_SERIES[dialect]} series
        """),
        {"first": first, "last": last},
    )
    assert copied.rowcount == last - first + 1, f"{table.name} holds no row to copy"
