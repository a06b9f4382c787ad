"""The PostgreSQL that the tests bring along: as safe as a real one, and gone when they are."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.databases import PostgresServer
from tests.support.postgres import NoPostgres
from tests.support.processes import wait_until
from tests.support.project import ROOT

pytestmark = pytest.mark.postgres
_RUN = """
import os
os.environ.pop("TASKQUEUE_TEST_POSTGRES", None)
from tests.support.postgres import Lifeline, server_url
lifeline = Lifeline()
print(lifeline.directory, server_url(lifeline.directory), flush=True)
input()
lifeline.close()
"""


@pytest.mark.parametrize("end", ["is over", "is killed"])
def test_the_server_and_its_files_are_gone_when_the_run(end: str) -> None:
    command = [sys.executable, "-c", _RUN]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        directory, url = tests.stdout.readline().split()
        assert _answers(url)
        if end == "is killed":
            tests.send_signal(signal.SIGKILL)
        else:
            tests.communicate("\n")
    wait_until(lambda: not Path(directory).exists(), what="the files to be removed")
    assert not _answers(url)


def test_nothing_of_its_durability_is_switched_off(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url) as conn:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert conn.execute("select current_setting(%s)", (name,)).fetchone() == ("on",)


def test_a_server_that_cannot_be_reached_fails_the_run_with_a_sentence() -> None:
    with pytest.raises(NoPostgres, match=r"PostgreSQL, and 127\.0\.0\.1:1 cannot be reached"):
        PostgresServer("postgresql://someone:hunter2@127.0.0.1:1/db")


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=30).close()
    except psycopg.OperationalError:
        return False
    return True
