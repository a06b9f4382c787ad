"""A database that can be trusted: what is refused at the start, what counts as an outage, whose clock it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from taskqueue.core.errors import InvalidSettings, StoreUnavailable, UnsafeDatabase, WrongRevision
from taskqueue.store import migrations
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from taskqueue.store.migrations import VERSION_TABLE
from tests.support.builders import new_task, submit, submit_one
from tests.support.clock import Clock
from tests.support.postgres import Lifeline, server_url
from tests.support.processes import wait_until


@pytest.fixture
def short(database_url: str) -> Iterator[Database]:
    """A database that waits for at most a third of a second."""
    opened = Database.open(database_url, wait=timedelta(seconds=0.3), pool_size=2)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "url", ["mysql://localhost/x", "oracle://x", "sqlite://", "sqlite:///:memory:", "nonsense", ""]
)
def test_a_url_that_cannot_be_used_is_refused_with_what_could_be(url: str) -> None:
    with pytest.raises(InvalidSettings, match="TASKQUEUE_DATABASE_URL"):
        Database.open(url)


def test_the_shown_url_has_no_password() -> None:
    database = Database.open("postgresql://someone:hidden@db.example:5433/queue")
    assert "hidden" not in database.url_shown
    assert "db.example:5433/queue" in database.url_shown
    database.close()


def test_a_good_database_passes_without_a_word(database: Database) -> None:
    assert database.check() == []
    assert database.check(allow_unsafe=True) == []


def test_a_database_without_tables_names_the_command_that_makes_them(bare_database_url: str) -> None:
    database = Database.open(bare_database_url)
    with pytest.raises(WrongRevision, match="taskqueue migrate"):
        database.check()
    database.close()


@pytest.mark.parametrize("revision", ["9999", "0000"])
def test_another_revision_is_refused_by_name(database: Database, revision: str) -> None:
    with database.begin() as conn:
        conn.execute(text(f"update {VERSION_TABLE} set version_num = '{revision}'"))
    try:
        with pytest.raises(WrongRevision, match=rf"revision {revision}.*needs {migrations.head()}"):
            database.check()
    finally:
        with database.begin() as conn:
            conn.execute(text(f"update {VERSION_TABLE} set version_num = '{migrations.head()}'"))


def test_a_server_that_is_away_is_an_outage() -> None:
    database = Database.open("postgresql://someone:hidden@127.0.0.1:1/db", wait=timedelta(seconds=0.3))
    for attempt in (database.check, lambda: submit_one(database)):
        with pytest.raises(StoreUnavailable) as raised:
            attempt()
        assert raised.value.rolled_back
        assert "hidden" not in str(raised.value)
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("level", ["off", "local", "remote_write"])
def test_postgres_that_may_lose_a_commit_is_refused(postgres_url: str, level: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("alter database {} set synchronous_commit = {}").format(name, sql.Literal(level)))
        database = Database.open(postgres_url)
        try:
            if level != "off":  # the commit is on this server's disk: that is what is promised
                assert database.check() == []
                return
            with pytest.raises(UnsafeDatabase, match="synchronous_commit is off"):
                database.check()
            assert len(database.check(allow_unsafe=True)) == 1
        finally:
            database.close()
            conn.execute(sql.SQL("alter database {} reset all").format(name))


@pytest.fixture
def scratch_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database on a server of its own, whose settings may be spoilt."""
    monkeypatch.delenv("TASKQUEUE_TEST_POSTGRES", raising=False)
    lifeline = Lifeline()
    try:
        url = server_url(lifeline.directory)
        migrations.upgrade(url)
        yield url
    finally:
        lifeline.close()


@pytest.mark.postgres
def test_a_server_that_may_lose_what_it_wrote_is_refused(scratch_url: str) -> None:
    database = Database.open(scratch_url)
    assert database.check() == []
    with psycopg.connect(scratch_url, autocommit=True) as conn:
        for count, setting in enumerate(("fsync", "full_page_writes", "synchronous_commit"), 1):
            switch_off(conn, setting)
            database.close()
            with pytest.raises(UnsafeDatabase, match=f"{setting} is off"):
                database.check()
            assert len(database.check(allow_unsafe=True)) == count
    database.close()


def switch_off(conn: psycopg.Connection, setting: str) -> None:
    """Switch a setting of the whole server off, and wait until it is."""
    conn.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
    conn.execute("select pg_reload_conf()")
    asked = sql.SQL("select 1 from pg_settings where name = {} and setting = 'off'").format(sql.Literal(setting))
    wait_until(lambda: conn.execute(asked).fetchone() is not None, what=f"{setting} to be off")


def test_sqlite_that_may_lose_a_commit_would_be_noticed(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    for engine in database.dialect.engines():
        with engine.connect() as conn:
            assert conn.connection.driver_connection is not None
            conn.connection.driver_connection.execute("pragma synchronous = normal")
            (risk,) = database.dialect.check(conn)
            assert "synchronous is not FULL" in risk
        engine.dispose()
    database.close()


def test_every_connection_to_sqlite_is_durable_and_in_wal_mode(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    for enter in (database.begin, database.read):
        with enter() as conn:
            assert conn.exec_driver_sql("pragma journal_mode").scalar() == "wal"
            assert conn.exec_driver_sql("pragma synchronous").scalar() == 2
    database.close()


@pytest.mark.postgres
def test_every_session_on_postgres_is_bounded(postgres_url: str) -> None:
    database = Database.open(postgres_url, wait=timedelta(seconds=1.5))
    for enter in (database.begin, database.read):
        with enter() as conn:
            shown = {
                name: conn.exec_driver_sql(f"show {name}").scalar()
                for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone")
            }
            assert shown == {
                "statement_timeout": "6s",
                "lock_timeout": "1500ms",
                "idle_in_transaction_session_timeout": "12s",
                "timezone": "UTC",
            }
    database.close()


def test_a_read_sees_one_moment(database: Database, other: Database) -> None:
    with database.read() as conn:
        before = conn.execute(text("select count(*) from tasks")).scalar()
        submit_one(other)
        assert conn.execute(text("select count(*) from tasks")).scalar() == before
    with database.read() as conn:
        assert conn.execute(text("select count(*) from tasks")).scalar() == 1


def test_what_raises_inside_a_transaction_leaves_no_trace(database: Database) -> None:
    class Unexpected(Exception):
        pass

    def fail() -> None:
        with database.begin() as conn:
            conn.execute(text("delete from tasks"))
            raise Unexpected

    submit_one(database)
    with pytest.raises(Unexpected):
        fail()
    with database.read() as conn:
        assert conn.execute(text("select count(*) from tasks")).scalar() == 1


def test_a_writer_that_gets_no_turn_gives_up_in_time(short: Database, other: Database) -> None:
    submit_one(other)
    with other.begin() as conn:
        conn.execute(text("update ready set priority = 1"))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as raised, short.begin() as waiting:
            waiting.execute(text("update ready set priority = 2"))
        assert 0.2 < time.monotonic() - began < 15
        assert raised.value.rolled_back
    with short.begin() as conn:
        conn.execute(text("update ready set priority = 3"))


def test_a_thread_that_gets_no_connection_gives_up_in_time(short: Database) -> None:
    count = 1 if short.dialect_name == "sqlite" else 2
    release, holding = threading.Event(), threading.Barrier(count + 1)

    def hold() -> None:
        with short.begin():
            holding.wait(30)
            release.wait(30)

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    holding.wait(30)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as raised, short.begin():
        pass
    waited = time.monotonic() - began
    release.set()
    for thread in threads:
        thread.join()
    assert raised.value.rolled_back
    assert 0.2 < waited < 15


def test_an_outage_is_told_from_a_fault_of_ours(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)nowhere") as raised, database.begin() as conn:
        conn.execute(text("select * from nowhere"))
    assert not isinstance(raised.value, StoreUnavailable)


def test_an_error_of_the_database_shows_no_payload(database: Database) -> None:
    bad = new_task(priority=12, body=b"canary-body", headers=(("Authorization", "canary-token"),), metadata=b'"canary"')
    with pytest.raises(Exception, match=r"(?i)check") as raised:
        submit(database, bad)
    error: BaseException | None = raised.value
    while error is not None:
        assert "canary" not in str(error)
        assert "Y2FuYXJ5" not in str(error)  # the same in base64
        error = error.__cause__


@pytest.mark.postgres
def test_connections_that_the_server_dropped_are_replaced(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    for _ in range(3):
        submit_one(database)
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        for _ in range(2):
            conn.execute(
                "select pg_terminate_backend(pid, 20000) from pg_stat_activity where application_name = 'taskqueue'"
                " and datname = current_database()"
            )
            failures = []
            for _ in range(5):
                try:
                    submit_one(database)
                except StoreUnavailable as error:
                    failures.append(error.rolled_back)
            assert failures in ([], [True])
    database.close()


@pytest.mark.postgres
def test_a_transaction_whose_connection_breaks_in_the_middle_is_rolled_back(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    def write_while_the_server_ends_the_session() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as admin, database.begin() as conn:
            pid = conn.execute(text("select pg_backend_pid()")).scalar_one()
            admin.execute("select pg_terminate_backend(%s, 20000)", [pid])  # once it is gone
            conn.execute(text("update ready set priority = 1"))

    with pytest.raises(StoreUnavailable) as raised:
        write_while_the_server_ends_the_session()
    assert raised.value.rolled_back
    submit_one(database)
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("hinting", [False, True])
def test_a_commit_without_an_answer_may_have_taken_effect(postgres_url: str, hinting: bool) -> None:
    database = Database.open(postgres_url)

    def lose_the_server_before_the_commit() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as admin, database.begin() as conn:
            pid = conn.execute(text("select pg_backend_pid()")).scalar_one()
            if hinting:
                database.hint(conn, Hint.READY)
            admin.execute("select pg_terminate_backend(%s, 20000)", [pid])  # once it is gone

    with pytest.raises(StoreUnavailable) as raised:
        lose_the_server_before_the_commit()
    assert not raised.value.rolled_back
    database.close()


def test_the_clock_is_the_databases_and_moves_with_its_offset(database: Database, clock: Clock) -> None:
    with database.read() as conn:
        assert abs(database.now(conn) - datetime.now(UTC)) < timedelta(seconds=10)
    clock.advance(hours=-7)
    with database.begin() as conn:
        assert abs(database.now(conn) + timedelta(hours=7) - datetime.now(UTC)) < timedelta(seconds=10)


def test_the_clock_does_not_stand_still_between_transactions(database: Database) -> None:
    seen = []
    for _ in range(5):
        with database.begin() as conn:
            seen.append(database.now(conn))
    assert seen == sorted(seen)
    assert len(set(seen)) == 5
    assert {instant.tzinfo for instant in seen} <= {UTC, seen[0].tzinfo}
    assert all(instant.utcoffset() == timedelta(0) for instant in seen)


def test_a_file_that_is_no_database_is_no_outage(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not a database, but long enough to look like a page" * 50)
    database = Database.open(f"sqlite:///{tmp_path / 'note.txt'}")
    with pytest.raises(Exception, match="not a database"):
        database.check()
    database.close()


def test_a_full_disk_is_an_outage(tmp_path: Path, sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    with database.begin() as conn:
        pages = conn.exec_driver_sql("pragma page_count").scalar_one()
        conn.exec_driver_sql(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailable):
        submit(database, *(new_task(body=b"x" * 10000) for _ in range(10)))
    database.close()
