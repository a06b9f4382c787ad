"""Projects: each with a signing secret of its own, and one that is always there."""

from __future__ import annotations

from functools import partial

import pytest

from taskqueue.core.errors import Conflict
from taskqueue.core.project import Project
from taskqueue.store import projects, secrets
from taskqueue.store.database import Database
from tests.store.threads import at_once


def create(database: Database, name: str) -> Project:
    with database.begin() as conn:
        return projects.create(conn, database, name)


def names(database: Database, *, cursor: str | None = None, limit: int = 9) -> tuple[list[str], str | None]:
    with database.read() as conn:
        page = projects.search(conn, cursor=cursor, limit=limit)
    return [project.name for project in page.items], page.next_cursor


def test_a_migrated_database_has_the_default_project(database: Database) -> None:
    assert names(database) == (["default"], None)
    with database.read() as conn:
        assert projects.exists(conn, "default")
        assert not projects.exists(conn, "acme")


def test_a_new_project_signs_with_a_secret_of_its_own(database: Database, other: Database) -> None:
    for name in ("acme", "zoo"):
        create(database, name)
    with other.read() as conn:
        (acme,), (zoo,) = secrets.current(conn, "acme"), secrets.current(conn, "zoo")
        assert projects.exists(conn, "acme")
    assert acme != zoo


def test_a_name_is_taken_once(database: Database, other: Database) -> None:
    made = at_once([partial(create, store, "acme") for store in (database, other) * 2])
    assert len([each for each in made if isinstance(each, Project)]) == 1
    for name in ("acme", "default"):
        with pytest.raises(Conflict, match=name):
            create(database, name)
    with database.read() as conn:
        assert len(secrets.current(conn, "acme")) == 1


def test_projects_are_listed_by_name_a_page_at_a_time(database: Database) -> None:
    for name in ("zoo", "acme"):
        create(database, name)
    first, cursor = names(database, limit=2)
    assert (first, names(database, cursor=cursor, limit=2)) == (["acme", "default"], (["zoo"], None))
