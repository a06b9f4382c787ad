"""A service that asks for API keys, and the keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from taskqueue.config import Settings
from taskqueue.core.api_key import NewApiKey, Scope
from taskqueue.store import api_keys, projects
from taskqueue.store.database import Database
from taskqueue.web.service import Service
from tests.web.contract import Answer, Api

ALL = frozenset({Scope.ADMIN})
LIST = "/v1/tasks"


def make_key(
    database: Database, *scopes: Scope, project: str = "default", lifetime: timedelta | None = None
) -> NewApiKey:
    """A key with these scopes, or else with all."""
    with database.begin() as conn:
        return api_keys.create(conn, database, project, name="test", scopes=frozenset(scopes) or ALL, lifetime=lifetime)


def make_project(database: Database, name: str) -> NewApiKey:
    """A project, and a key to all of it."""
    with database.begin() as conn:
        projects.create(conn, database, name)
    return make_key(database, project=name)


@contextmanager
def asking(database: Database) -> Iterator[Service]:
    """A service over ``database`` that lets nobody in without a key."""
    running = Service(Settings(auth="on", api_threads=8), database)
    try:
        yield running
    finally:
        running.close()


def brought(api: Api, **headers: str) -> Answer:
    """What a look at the tasks is answered with these headers, hyphens written as underscores."""
    return api.call("GET", LIST, headers={name.replace("_", "-"): value for name, value in headers.items()})
