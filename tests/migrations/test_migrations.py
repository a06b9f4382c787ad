"""The revisions: up, down, up again, and equal to the schema the code is written against."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from taskqueue.core.errors import InvalidSettings, StoreUnavailable, WrongRevision
from taskqueue.store import migrations
from taskqueue.store.database import Database
from taskqueue.store.schema import metadata
from tests.support.builders import kill_one, look_up, submit_one
from tests.support.databases import PostgresServer
from tests.support.structure import structure

AT_ONCE = 4
_AUTOVACUUM = {
    "autovacuum_vacuum_scale_factor=0",
    "autovacuum_vacuum_threshold=5000",
    "autovacuum_vacuum_cost_delay=0",
}


def test_the_revisions_build_the_schema(bare_database_url: str) -> None:
    migrations.upgrade(bare_database_url)
    migrated = _structure(bare_database_url)
    migrations.downgrade(bare_database_url, "base")
    with migrations.locked(bare_database_url) as conn:
        metadata.create_all(conn)
    assert [line for line in migrated if " with autovacuum" not in line] == _structure(bare_database_url)


def test_a_downgrade_leaves_nothing_and_an_upgrade_brings_all_back(bare_database_url: str) -> None:
    migrations.upgrade(bare_database_url)
    before = _structure(bare_database_url)
    migrations.downgrade(bare_database_url, "base")
    assert _structure(bare_database_url) == []
    migrations.upgrade(bare_database_url)
    assert _structure(bare_database_url) == before


def test_tasks_of_an_older_revision_stay_as_they_were(bare_database_url: str) -> None:
    migrations.upgrade(bare_database_url)
    with opened(bare_database_url) as database:
        dead = kill_one(database, body=b"\x00" * 9000, labels=("a",))
        waiting = submit_one(database, delay=timedelta(hours=1), body=None)
        before = [look_up(database, task.id) for task in (dead, waiting)]
    migrations.downgrade(bare_database_url, "0001")
    with pytest.raises(WrongRevision, match="taskqueue migrate"):
        _check(bare_database_url)
    migrations.upgrade(bare_database_url)
    with opened(bare_database_url) as database:
        after = [look_up(database, task.id) for task in (dead, waiting)]
        assert [replace(task, last_attempt=None) for task in after] == [
            replace(task, last_attempt=None) for task in before
        ]
        (attempt, former) = (task.last_attempt for task in (after[0], before[0]))
        assert attempt is not None
        assert attempt == replace(former, fingerprint=None)  # type: ignore[type-var]
        assert submit_one(database, parent_id=dead.id, root_id=dead.id).spec.root_id == dead.id


def test_an_upgrade_of_a_current_database_changes_nothing(bare_database_url: str) -> None:
    migrations.upgrade(bare_database_url)
    before = _structure(bare_database_url)
    migrations.upgrade(bare_database_url)
    assert _structure(bare_database_url) == before
    with migrations.locked(bare_database_url) as conn:
        assert migrations.current(conn) == migrations.head()


def test_processes_that_migrate_at_once_do_not_hurt_each_other(bare_database_url: str) -> None:
    program = "import sys; from taskqueue.store import migrations; migrations.upgrade(sys.argv[1])"
    running = [
        subprocess.Popen([sys.executable, "-c", program, bare_database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(AT_ONCE)
    ]
    ended = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * AT_ONCE, ended
    _check(bare_database_url)


def test_a_bare_database_is_refused_with_the_command_that_mends_it(bare_database_url: str) -> None:
    with pytest.raises(WrongRevision, match="taskqueue migrate"):
        _check(bare_database_url)
    migrations.upgrade(bare_database_url)
    _check(bare_database_url)


def test_a_database_of_a_newer_version_is_left_alone(bare_database_url: str) -> None:
    migrations.upgrade(bare_database_url)
    with migrations.locked(bare_database_url) as conn:
        conn.execute(text(f"update {migrations.VERSION_TABLE} set version_num = '9999'"))
    with pytest.raises(WrongRevision, match="9999"):
        migrations.upgrade(bare_database_url)
    with pytest.raises(WrongRevision, match="9999"):
        _check(bare_database_url)


@pytest.mark.postgres
def test_the_hot_table_is_vacuumed_by_rows(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        migrations.upgrade(url)
        with migrations.locked(url) as conn:
            options = conn.execute(text("select unnest(reloptions) from pg_class where relname = 'ready'"))
            assert set(options.scalars()) == _AUTOVACUUM


@pytest.mark.parametrize("scheme", ["postgres://", "postgresql://", "postgresql+psycopg://"])
@pytest.mark.postgres
def test_each_spelling_of_a_postgres_url_is_understood(postgres_server: PostgresServer, scheme: str) -> None:
    with postgres_server.database() as url:
        spelled = scheme + url.partition("://")[2]
        migrations.upgrade(spelled)
        _check(spelled)


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="TASKQUEUE_DATABASE_URL"):
        migrations.upgrade(url)


def test_a_server_that_is_away_is_one_sentence_without_the_password() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be migrated") as raised:
        migrations.upgrade("postgresql://someone:hidden@127.0.0.1:1/db")
    assert "hidden" not in str(raised.value)


def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new folder 100%/taskqueue.db"
    migrations.upgrade(url)
    _check(url)


def test_a_revision_that_fails_leaves_no_half_built_tables(bare_database_url: str) -> None:
    with migrations.locked(bare_database_url) as conn:
        conn.execute(text("create table signing_secrets (x int)"))  # the last table of 0001 is in the way
    with pytest.raises(Exception, match="signing_secrets"):
        migrations.upgrade(bare_database_url)
    with migrations.locked(bare_database_url) as conn:
        assert migrations.current(conn) is None
        assert not [line for line in structure(conn) if not line.startswith("signing_secrets")]


def _structure(url: str) -> list[str]:
    with migrations.locked(url) as conn:
        return structure(conn)


def _check(url: str) -> None:
    with opened(url) as database:
        database.check()


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database.open(url)
    try:
        yield database
    finally:
        database.close()
