"""What the database says it will do: the plan of every statement that some code runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

Statement = tuple[str, Any]


@contextmanager
def statements(conn: Connection) -> Iterator[list[Statement]]:
    """The statements that ``conn`` is given meanwhile, with their parameters, as the driver gets them."""
    seen: list[Statement] = []

    def note(_conn: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(conn, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(conn, "before_cursor_execute", note)


def plan(conn: Connection, statement: Statement) -> str:
    """The plan in the database's own words, a line for each step."""
    words, parameters = statement
    explain = "explain query plan " if conn.dialect.name == "sqlite" else "explain "
    found = conn.exec_driver_sql(explain + words, parameters)
    return "\n".join(str(row[-1]) for row in found)
