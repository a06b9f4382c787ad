"""Whether the process lives and whether it can serve are two questions."""

from __future__ import annotations

import pytest

from taskqueue.config import Settings
from taskqueue.store import migrations
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.service import Service
from tests.web.contract import Api
from tests.web.outage import stuck


def test_a_process_with_a_sound_store_is_ready(api: Api, database: Database) -> None:
    assert api.get("/healthz").json == {"status": "alive"}
    assert api.get("/readyz").json == {"status": "ready", "database": database.dialect_name, "warnings": []}


def test_allowed_private_targets_are_said_loudly(database: Database) -> None:
    service = Service(Settings(allowed_targets="127.0.0.1,10.1.2.0/24"), database)
    (warning,) = Api(create_app(service)).get("/readyz").json["warnings"]
    service.close()
    assert "127.0.0.1,10.1.2.0/24" in warning


def test_a_store_that_cannot_be_written_is_not_ready(api: Api, database_url: str) -> None:
    with stuck(database_url):
        answer = api.get("/readyz")
        assert answer.status == 503
        assert "retry-after" in answer.headers
    assert api.get("/readyz").status == 200


@pytest.mark.parametrize("revision", ["base"])
def test_a_schema_of_another_revision_is_not_ready(bare_database_url: str, settings: Settings, revision: str) -> None:
    migrations.upgrade(bare_database_url)
    migrations.downgrade(bare_database_url, revision)
    database = Database.open(bare_database_url)
    service = Service(settings, database)
    answer = Api(create_app(service)).get("/readyz")
    service.close()
    database.close()
    assert answer.status == 503
    assert "taskqueue migrate" in answer.json["detail"]
