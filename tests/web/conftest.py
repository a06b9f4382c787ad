"""The application over the real store, and a client that checks every answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from taskqueue.config import Settings
from taskqueue.store.database import Database
from taskqueue.store.schema import queues
from taskqueue.web.app import create_app
from taskqueue.web.service import Service
from tests.web.contract import Api, Document
from tests.web.keys import asking


@pytest.fixture(scope="session")
def document() -> Document:
    return Document()


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(api_threads=8, max_body_bytes=65_536, max_batch_bytes=1_048_576)


@pytest.fixture(scope="session")
def front_service(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose database has no table but that of queues, which every submit asks for defaults: whatever would be
    stored fails, and the test with it."""
    database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('front') / 'empty.db'}")
    with database.begin() as conn:
        queues.create(conn)
    running = Service(settings, database)
    yield running
    running.close()
    database.close()


@pytest.fixture(scope="session")
def front(front_service: Service) -> Api:
    """The application for requests that are refused before anything is stored."""
    return Api(create_app(front_service))


@pytest.fixture
def service(settings: Settings, database: Database) -> Iterator[Service]:
    running = Service(settings, database)
    yield running
    running.close()


@pytest.fixture
def api(service: Service) -> Api:
    return Api(create_app(service))


@pytest.fixture
def asking_service(database: Database) -> Iterator[Service]:
    """A service that lets nobody in without a key."""
    with asking(database) as running:
        yield running


@pytest.fixture
def app(asking_service: Service) -> Flask:
    return create_app(asking_service)


@pytest.fixture
def nobody(app: Flask) -> Api:
    """A caller without a key."""
    return Api(app)
