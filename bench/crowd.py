"""Crowds of waiting tasks on many keys, in seconds: copies of one task, and whatever holds them back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection, Table, insert, select, text, update

from bench.plain import Columns
from bench.work import NOWHERE, fill, new_task
from taskqueue.core.strand import strand_id
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store.database import Database
from taskqueue.store.schema import flow_keys, origins, ready, strands, tasks

_ORIGIN = new_task(NOWHERE).spec.origin
_LONG = timedelta(minutes=4)  # longer than any bench, shorter than the longest a breaker stays open


@dataclass(frozen=True, slots=True)
class Line:
    """Tasks that wait with the same keys."""

    flow_key: str
    origin: str = _ORIGIN
    ordering_key: str | None = None

    @property
    def strand(self) -> int:
        return strand_id(DEFAULT_PROJECT, "default", self.flow_key, self.origin, new_task().spec.priority)


def lines(name: str, count: int) -> list[Line]:
    """As many flow keys of one origin."""
    return [Line(f"{name}-{number}") for number in range(count)]


def broken(name: str, count: int) -> list[Line]:
    """As many origins, each with its own flow key."""
    return [Line(f"{name}-{number}", origin=f"https://{name}-{number}.example") for number in range(count)]


def in_order(name: str, count: int) -> list[Line]:
    """As many ordering keys of one flow key."""
    return [Line(name, ordering_key=f"{name}-{number}") for number in range(count)]


def gather(database: Database, waiting: Sequence[Line], *, each: int) -> None:
    """Queue ``each`` tasks in every line, one of each line in turn, and all of them due."""
    fill(database, 1)
    with database.begin() as conn:
        first = conn.execute(select(tasks.c.id, tasks.c.created_at).order_by(tasks.c.id.desc()).limit(1)).one()
        already = conn.execute(text("select count(*) from ready")).scalar_one()
        bound = {"one": first.id if conn.dialect.name == "postgresql" else first.id.bytes, "each": each}
        bound |= {"lines": json.dumps([_spelled(line) for line in waiting]), "already": already}
        for table, changed in ((tasks, _TASK), (ready, _READY)):
            conn.execute(text(_copies(conn, table, changed)), bound)
        _wake(conn, waiting, first.created_at)


def cap(database: Database, waiting: Sequence[Line], *, at: int) -> None:
    """Let at most so many of each flow key run at once."""
    with database.begin() as conn:
        now = database.now(conn)
        row = {"project": DEFAULT_PROJECT, "paused": False, "concurrency": at, "created_at": now, "updated_at": now}
        conn.execute(insert(flow_keys), [{**row, "key": key} for key in {line.flow_key for line in waiting}])


def fill_slot(database: Database, waiting: Sequence[Line]) -> None:
    """One task of each line runs, and goes on to."""
    with database.begin() as conn:
        now = database.now(conn)
        for line in waiting:
            mine = (ready.c.project == DEFAULT_PROJECT, ready.c.strand == line.strand)
            head = conn.execute(select(ready.c.task_id).where(*mine).limit(1)).scalar_one()
            lease = {"lease_token": uuid4(), "attempt_id": uuid4(), "lease_until": now + _LONG, "started_at": now}
            conn.execute(update(ready).where(ready.c.task_id == head, *mine).values(**lease, worker="bench-3"))


def break_off(database: Database, waiting: Sequence[Line]) -> None:
    """The breaker of each origin is open."""
    with database.begin() as conn:
        now = database.now(conn)
        counts = dict.fromkeys(("failures", "calls", "former_failures", "former_calls"), 50)
        row = {"project": DEFAULT_PROJECT, "state": "open", "changed_at": now, "open_until": now + _LONG, "trips": 1}
        conn.execute(insert(origins), [{**row, **counts, "window_at": now, "origin": line.origin} for line in waiting])


def _spelled(line: Line) -> Columns:
    spelled = {"flow_key": line.flow_key, "origin": line.origin, "ordering_key": line.ordering_key}
    return {**spelled, "strand": str(line.strand)}  # JSON's numbers are too short for it


def _wake(conn: Connection, waiting: Sequence[Line], at: datetime) -> None:
    known = set(conn.execute(select(strands.c.id)).scalars())
    row = {
        "project": DEFAULT_PROJECT,
        "queue": "default",
        "priority": new_task().spec.priority,
        "look_at": at,
        "turn_at": at,
    }
    fresh = {
        line.strand: {**row, "id": line.strand, "flow_key": line.flow_key, "origin": line.origin} for line in waiting
    }
    if new := [columns for strand, columns in fresh.items() if strand not in known]:
        conn.execute(insert(strands), new)


# How the columns of a copy differ from those of the one task there is.
_KEYS = {name: f"series.{name}" for name in ("flow_key", "origin", "ordering_key")}
_TASK = {"id": "{id}", **_KEYS}
_READY = {
    "task_id": "{id}",
    **_KEYS,
    "lane_position": "case when series.ordering_key is not null then copy end",
    "held": "series.ordering_key is not null and copy > 1",
    "strand": "series.strand",
}
_SERIES = {
    "postgresql": """
        select line.flow_key, line.origin, line.ordering_key, cast(line.strand as bigint) as strand, copy,
               row_number() over (order by copy) + :already as place
          from json_to_recordset(cast(:lines as json))
               as line (flow_key text, origin text, ordering_key text, strand text)
         cross join generate_series(1, :each) as copy""",
    "sqlite": """
        with recursive copies (copy) as (select 1 union all select copy + 1 from copies where copy < :each)
        select value ->> 'flow_key' as flow_key, value ->> 'origin' as origin,
               value ->> 'ordering_key' as ordering_key, cast(value ->> 'strand' as integer) as strand, copy,
               row_number() over (order by copy) + :already as place
          from json_each(:lines) cross join copies""",
}
_ID = {
    "postgresql": "cast('01900000-0000-7000-8000-' || lpad(to_hex(place), 12, '0') as uuid)",
    "sqlite": "cast(printf('%016d', place) as blob)",
}


def _copies(conn: Connection, table: Table, changed: dict[str, str]) -> str:
    dialect = conn.dialect.name
    taken = {column.name: f'one."{column.name}"' for column in table.columns}
    taken |= {name: value.format(id=_ID[dialect]) for name, value in changed.items()}
    names = ", ".join(f'"{name}"' for name in taken)
    id_name = "id" if table is tasks else "task_id"
    return (
        f"insert into {table.name} ({names}) select {', '.join(taken.values())}"
        f" from {table.name} as one cross join ({_SERIES[dialect]}) as series"
        f" where one.{id_name} = :one order by place"
    )
