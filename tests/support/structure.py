"""What a database is made of, as sorted lines of text that can be compared."""

from sqlalchemy import Connection, text

from taskqueue.store.migrations import VERSION_TABLE

_POSTGRES = (
    """select c.relname || ' ' || a.attnum || ': ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
              || case when a.attnotnull then ' not null' else '' end
              || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
       from pg_attribute a join pg_class c on c.oid = a.attrelid
       left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attnum > 0""",
    """select c.relname || ' ' || o.conname || ': ' || pg_get_constraintdef(o.oid)
       from pg_constraint o join pg_class c on c.oid = o.conrelid where o.connamespace = 'public'::regnamespace
       and o.contype <> 'n'""",  # PostgreSQL 18 lists every "not null" again as a constraint
    "select tablename || ' ' || indexdef from pg_indexes where schemaname = 'public'",
    """select relname || ' with ' || unnest(reloptions) from pg_class
       where relkind = 'r' and relnamespace = 'public'::regnamespace""",
)


def structure(conn: Connection) -> list[str]:
    """Tables, columns in order, constraints, indexes with their predicates, storage settings."""
    lines = _of_sqlite(conn) if conn.dialect.name == "sqlite" else _of_postgres(conn)
    return sorted(line for line in lines if not line.startswith(VERSION_TABLE))


def _of_postgres(conn: Connection) -> list[str]:
    return [line for query in _POSTGRES for line in conn.execute(text(query)).scalars()]


def _of_sqlite(conn: Connection) -> list[str]:
    made = conn.execute(text("select tbl_name, sql from sqlite_master where sql is not null")).all()
    lines = []
    for table, statement in made:
        parts = [" ".join(part.split()).strip(" ,").lower() for part in statement.splitlines()]
        lines += [f"{table} {part}" for part in parts if part not in ("", ")")]
        columns = conn.exec_driver_sql(f"select cid, name from pragma_table_info('{table}')")
        lines += [f"{table} column {cid}: {name}" for cid, name in columns]
    return lines
