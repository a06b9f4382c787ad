"""A worker as a process: its signals, its exit code, and what it does when it was stopped in the middle of things."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from taskqueue.core.task import TaskState
from taskqueue.store.database import Database
from tests.support.builders import look_up
from tests.support.processes import PATIENCE, Running, environment, free_port, running
from tests.support.target import LocalTarget, answer, silence
from tests.worker.running import QUICK, ended, outcomes, submit_to, until

pytestmark = pytest.mark.e2e


def worker(directory: Path, database_url: str, **settings: Any) -> AbstractContextManager[Running]:
    return running(
        "worker", cwd=directory, environ=environment(directory, database_url=database_url, **QUICK | settings)
    )


def read_by_nobody() -> BinaryIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb")


def test_sigterm_lets_it_finish_and_end_with_0(
    database: Database, database_url: str, target: LocalTarget, tmp_path: Path
) -> None:
    target.default = answer(200, after=1)
    task = submit_to(database, target.url)
    with worker(tmp_path, database_url) as process:
        until(lambda: target.hits, seconds=PATIENCE)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert look_up(database, task.id).state is TaskState.SUCCEEDED
    assert "worker.draining" in process.output
    assert "worker.stopped" in process.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    database: Database, database_url: str, target: LocalTarget, tmp_path: Path, number: signal.Signals
) -> None:
    target.default = silence
    task = submit_to(database, target.url, timeout=timedelta(seconds=60))
    with worker(tmp_path, database_url) as process:
        until(lambda: target.hits, seconds=PATIENCE)
        process.signal(number)
        process.wait_for_output("worker.draining")
        process.signal(number)
        assert process.wait() == 128 + number
    assert look_up(database, task.id).state is TaskState.RUNNING  # until its lease lapses


def test_a_worker_that_stood_still_past_its_lease_cuts_its_attempt_and_settles_nothing(
    database: Database, database_url: str, target: LocalTarget, tmp_path: Path
) -> None:
    target.then(silence)
    task = submit_to(database, target.url, timeout=timedelta(seconds=60))
    with worker(tmp_path, database_url, concurrency=1, lease_seconds=2.0) as stopped:
        until(lambda: target.hits, seconds=PATIENCE)
        stopped.signal(signal.SIGSTOP)
        time.sleep(2.2)
        with worker(tmp_path, database_url):
            ended(database, task, seconds=PATIENCE)
            assert outcomes(database, task) == ["worker_lost", "success"]
            assert target.open_connections == 2
            stopped.signal(signal.SIGCONT)
            until(lambda: target.open_connections <= 1)
        until(lambda: "attempt.cut" in stopped.output)
    assert outcomes(database, task) == ["worker_lost", "success"]
    assert len(target.hits) == 2


@pytest.mark.parametrize("disk_full", [False, True])
def test_a_log_that_cannot_be_written_spoils_no_drain(
    database: Database, database_url: str, target: LocalTarget, tmp_path: Path, disk_full: bool
) -> None:
    target.default = answer(200, after=1)
    task = submit_to(database, target.url)
    command = [sys.executable, "-m", "taskqueue.cli", "worker"]
    environ = environment(tmp_path, database_url=database_url, **QUICK)
    with Path("/dev/full").open("wb") if disk_full else read_by_nobody() as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
    try:
        until(lambda: target.hits, seconds=PATIENCE)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert look_up(database, task.id).state is TaskState.SUCCEEDED


def test_it_waits_for_a_database_that_is_not_there_yet(tmp_path: Path) -> None:
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with worker(tmp_path, away) as process:
        process.wait_for_output("store.unavailable")
        time.sleep(1)
        assert process.process.poll() is None
        assert process.output.count("store.unavailable") == 1
        process.signal(signal.SIGTERM)
        assert process.wait() != 0  # it never began


def test_it_says_in_one_sentence_that_the_tables_are_missing(bare_database_url: str, tmp_path: Path) -> None:
    with worker(tmp_path, bare_database_url) as process:
        assert process.wait() == 1
    assert "taskqueue migrate" in process.output
    assert "Traceback" not in process.output
