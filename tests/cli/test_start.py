"""How api, worker and migrate start, and how they say that they cannot."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from taskqueue.cli import COMMANDS
from tests.support.processes import children, environment, free_port, ready, run, running, wait_until
from tests.support.project import ROOT

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_database_without_tables_is_refused_with_the_command_that_makes_them(
    bare_database_url: str, tmp_path: Path, command: str
) -> None:
    environ = environment(tmp_path, database_url=bare_database_url, port=free_port())
    refused = run(command, cwd=tmp_path, environ=environ)
    assert refused.returncode == 1
    (sentence,) = refused.stderr.splitlines()
    assert sentence.endswith("taskqueue migrate")
    assert run("migrate", cwd=tmp_path, environ=environ).returncode == 0
    with running(command, cwd=tmp_path, environ=environ) as started:
        started.wait_for_output(f"{command}.started")


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_process_drains_on_sigterm_and_ends_with_zero(sqlite_url: str, tmp_path: Path, command: str) -> None:
    port = free_port()
    environ = environment(tmp_path, database_url=sqlite_url, port=port)
    with running(command, cwd=tmp_path, environ=environ) as started:
        started.wait_for_output(f"{command}.started")
        wait_until(lambda: command == "worker" or ready(port), what="the API")
        started.signal(signal.SIGTERM)
        assert started.wait() == 0
        assert f"{command}.stopped" in started.output


def test_the_files_at_the_root_start_the_same_processes(sqlite_url: str, tmp_path: Path) -> None:
    port = free_port()
    environ = environment(tmp_path, database_url=sqlite_url, port=port, log_format="json")
    script = Path(sys.executable)
    with (
        running(str(ROOT / "api.py"), cwd=tmp_path, environ=environ, program=script) as api,
        running(str(ROOT / "worker.py"), cwd=tmp_path, environ=environ, program=script) as worker,
    ):
        api.wait_for_output('"event": "api.started"')
        worker.wait_for_output('"event": "worker.started"')
        wait_until(lambda: ready(port), what="the API")


def test_several_workers_are_kept_by_one_command(sqlite_url: str, tmp_path: Path) -> None:
    environ = environment(tmp_path, database_url=sqlite_url)
    with running("worker", "--processes", "2", cwd=tmp_path, environ=environ) as workers:
        wait_until(lambda: workers.output.count("worker.started") == 2, what="two workers")
        assert len(children(workers.pid)) == 2
        workers.signal(signal.SIGTERM)
        assert workers.wait() == 0
        assert workers.output.count("worker.stopped") == 2


def test_a_bad_setting_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    environ = environment(tmp_path, lease_seconds="soon")
    for command in ("api", "dev", "settings"):
        refused = run(command, cwd=tmp_path, environ=environ)
        assert refused.returncode == 1
        (sentence,) = refused.stderr.splitlines()
        assert "TASKQUEUE_LEASE_SECONDS" in sentence


WARNING = "warning: TASKQUEUE_PROT is no setting (is TASKQUEUE_PORT meant?)"


@pytest.mark.parametrize("command", ["api", "worker", "dev", "migrate"])
def test_a_misspelt_variable_is_warned_about_in_one_line(tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that none of them starts in earnest
        environ = environment(tmp_path, prot=9000, port=taken.getsockname()[1])
        said = run(command, cwd=tmp_path, environ=environ).stderr
    assert said.splitlines()[0] == WARNING


@pytest.mark.parametrize("file", ["api.py", "worker.py"])
def test_the_files_at_the_root_warn_of_it_too(tmp_path: Path, file: str) -> None:
    refused = subprocess.run(
        [sys.executable, str(ROOT / file)],
        cwd=tmp_path,
        env=environment(tmp_path, prot=9000),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1, "there is no database"
    assert refused.stderr.splitlines()[0] == WARNING


def test_every_command_explains_itself(tmp_path: Path) -> None:
    listed = run("--help", cwd=tmp_path, environ=environment(tmp_path)).stdout
    assert [command for command in COMMANDS if f"  {command} " not in listed] == []
