"""Projects: made once, listed, and never removed."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, text

from taskqueue.core.errors import Conflict
from taskqueue.core.project import Project
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import secrets
from taskqueue.store.access_tables import projects
from taskqueue.store.columns import Instant
from taskqueue.store.database import Database
from taskqueue.store.search import Page, read_name, write_name


def create(conn: Connection, database: Database, name: str) -> Project:
    """A new project with a signing secret of its own; ``Conflict`` where there is one of this name."""
    project = Project(name, database.now(conn))
    if not conn.execute(_MAKE, {"project": name, "created_at": project.created_at}).rowcount:
        raise Conflict(f"there is a project {name} already")
    secrets.ensure(conn, database, name)
    return project


def exists(conn: Connection, name: str) -> bool:
    """Whether there is a project of this name."""
    return conn.execute(_ONE, {"of_project": name}).scalar() is not None


def search(conn: Connection, *, cursor: str | None, limit: int) -> Page[Project]:
    """The projects, by name."""
    after = "" if cursor is None else read_name(cursor, DEFAULT_PROJECT)
    rows = conn.execute(_PAGE, {"after": after, "limit": limit + 1}).all()
    items = [Project(row.project, row.created_at) for row in rows[:limit]]
    return Page(items, write_name([row.project for row in rows], DEFAULT_PROJECT, limit))


_MAKE = text("""
    insert into projects (project, created_at) values (:project, :created_at) on conflict do nothing
""").bindparams(bindparam("created_at", type_=Instant))
_ONE = select(projects.c.project).where(projects.c.project == bindparam("of_project"))
_PAGE = (
    select(projects)
    .where(projects.c.project > bindparam("after"))
    .order_by(projects.c.project)
    .limit(bindparam("limit"))
)
