"""PostgreSQL behind PgBouncer in transaction mode: every transaction may meet another session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from taskqueue.core.errors import InvalidSettings
from taskqueue.core.task import TaskState
from taskqueue.store import migrations
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
from taskqueue.store.pooler import Pooler
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_all, look_up, new_task, settle_one, submit
from tests.support.databases import PostgresServer

HOST = "127.0.0.1"
SESSIONS = 3  # fewer than the threads that want one


def test_a_url_that_speaks_of_no_pooler_stays_as_it_is() -> None:
    url = make_url("postgresql+psycopg://u:p@db.example:5432/x?sslmode=require")
    assert Pooler.of(url) == (url, None)


def test_what_the_url_says_of_the_pooler_is_not_for_the_driver() -> None:
    url = make_url("postgresql+psycopg://u:p@pool.example:6432/x?sslmode=require&pgbouncer=true&direct=db.example:5433")
    plain, pooler = Pooler.of(url)
    assert plain.query == {"sslmode": "require"}
    assert pooler is not None
    assert pooler.direct == make_url("postgresql+psycopg://u:p@db.example:5433/x?sslmode=require")


@pytest.mark.parametrize(
    ("direct", "host", "port"),
    [("db.example", "db.example", 5432), ("[::1]", "::1", 5432), ("[::1]:7", "::1", 7), ("10.0.0.1:8", "10.0.0.1", 8)],
)
def test_the_way_past_the_pooler_is_a_host_and_perhaps_a_port(direct: str, host: str, port: int) -> None:
    _, pooler = Pooler.of(make_url(f"postgresql+psycopg://u@p/x?pgbouncer=true&direct={direct}"))
    assert pooler is not None
    assert pooler.direct is not None
    assert (pooler.direct.host, pooler.direct.port) == (host, port)


@pytest.mark.parametrize("query", ["pgbouncer=yes", "direct=db.example:5432", "pgbouncer=true&direct=db:x"])
def test_what_cannot_be_meant_is_refused(query: str) -> None:
    with pytest.raises(InvalidSettings, match="TASKQUEUE_DATABASE_URL says"):
        Pooler.of(make_url(f"postgresql+psycopg://u@p/x?{query}"))


@pytest.fixture
def pooled_url(postgres_server: PostgresServer) -> Iterator[str]:
    program = shutil.which("pgbouncer")
    if program is None and os.environ.get("CI"):
        pytest.fail("pgbouncer is not installed; on Debian: apt-get install pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed, so nothing was tried behind it")
    with postgres_server.database() as url, running(program, make_url(url)) as port:
        pooled = make_url(url).set(host=HOST, port=port).update_query_dict({"pgbouncer": "true"})
        yield pooled.render_as_string(hide_password=False)


@pytest.mark.postgres
def test_the_whole_road_works_when_sessions_change_under_it(pooled_url: str) -> None:
    migrations.upgrade(pooled_url)
    stores = [Database.open(pooled_url) for _ in range(2)]
    try:
        assert stores[0].check() == []
        submitted = submit(stores[0], *(new_task() for _ in range(120))).tasks
        listener = stores[0].listener(Hint.READY)
        assert not listener.wait(0.1)
        listener.close()
        calls = [partial(_work, store) for store in stores * 3]
        worked = Counter(task_id for each in results(at_once(calls)) for task_id in each)
        assert worked == Counter(task.id for task in submitted)
        assert {look_up(stores[1], task.id).state for task in submitted} == {TaskState.SUCCEEDED}
    finally:
        for store in stores:
            store.close()


def _work(database: Database) -> list[object]:
    done: list[object] = []
    while claimed := claim_all(database, limit=7):
        for task in claimed:
            assert settle_one(database, task, answer(200))
            done.append(task.id)
    return done


@contextmanager
def running(program: str, server: URL) -> Iterator[int]:
    """PgBouncer in front of ``server``, as a process of its own, which must not be root's; its port."""
    port = _free_port()
    login = f"user={server.username}" + (f" password={server.password}" if server.password else "")
    with tempfile.TemporaryDirectory(prefix="taskqueue-pgbouncer-") as directory:
        Path(directory).chmod(0o755)
        config = Path(directory) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={server.host} port={server.port or 5432} {login}\n"
            f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = {SESSIONS}\n"
        )
        config.chmod(0o644)
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        with subprocess.Popen(
            [program, *as_nobody, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _await_port(process, port)
                yield port
            finally:
                process.terminate()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("pgbouncer does not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
