"""What a database is made of, as sorted lines of text that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Connection, text

from taskqueue.store.migrations import VERSION_TABLE

# A column that was added later stands last on PostgreSQL, where order means nothing.
_POSTGRES = (
    """select c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
              || case when a.attnotnull then ' not null' else '' end
              || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
       from pg_attribute a join pg_class c on c.oid = a.attrelid
       left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped""",
    """select c.relname || ' ' || o.conname || ': ' || pg_get_constraintdef(o.oid)
       from pg_constraint o join pg_class c on c.oid = o.conrelid where o.connamespace = 'public'::regnamespace
       and o.contype <> 'n'""",  # PostgreSQL 18 lists every "not null" again as a constraint
    "select tablename || ' ' || indexdef from pg_indexes where schemaname = 'public'",
    """select relname || ' with ' || unnest(reloptions) from pg_class
       where relkind = 'r' and relnamespace = 'public'::regnamespace""",
)


def structure(conn: Connection) -> list[str]:
    """Tables, columns (on SQLite in order), constraints, indexes with their predicates, storage settings."""
    lines = _of_sqlite(conn) if conn.dialect.name == "sqlite" else _of_postgres(conn)
    return sorted(line for line in lines if not line.startswith(VERSION_TABLE))


def _of_postgres(conn: Connection) -> list[str]:
    return [line for query in _POSTGRES for line in conn.execute(text(query)).scalars()]


def _of_sqlite(conn: Connection) -> list[str]:
    made = conn.execute(text("select type, tbl_name, sql from sqlite_master where sql is not null")).all()
    lines = []
    for kind, table, statement in made:
        lines += [f"{table} {part}" for part in _constraints(statement)] if kind == "table" else [_plain(statement)]
        columns = conn.exec_driver_sql(f"select * from pragma_table_info('{table}')")
        lines += [f"{table} column {' '.join(map(str, column)).lower()}" for column in columns]
    return lines


def _constraints(statement: str) -> Iterator[str]:
    """Each constraint, whether it stands with its column, as those of added columns do, or after all of them."""
    words = _plain(statement)
    for found in re.finditer(r"constraint \w+ [a-z ]+\(", words):
        end, depth = found.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(words[end], 0)
            end += 1
        yield words[found.start() : end]


def _plain(statement: str) -> str:
    return " ".join(statement.split()).lower()
