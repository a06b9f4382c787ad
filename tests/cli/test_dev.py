"""`taskqueue dev` and its children: started, restarted, drained, never left behind."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Running, alive, children, environment, free_port, ready, run, running, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environ(tmp_path: Path, port: int) -> dict[str, str]:
    return environment(tmp_path, url=f"http://127.0.0.1:{port}", port=port)


@pytest.fixture
def dev(tmp_path: Path, port: int, environ: dict[str, str]) -> Iterator[Running]:
    with running("dev", cwd=tmp_path, environ=environ) as process:
        process.wait_for_output("curl")
        yield process


def test_the_printed_line_submits_a_task_that_succeeds(
    dev: Running, tmp_path: Path, port: int, environ: dict[str, str]
) -> None:
    line = next(line for line in dev.output.splitlines() if line.strip().startswith("curl") and " -d " in line)
    words = shlex.split(line)
    assert words[0] == "curl"
    url = words[2]
    assert url == f"http://127.0.0.1:{port}/v1/tasks"
    target = words[-1].split('"')[3]
    done = run("submit", target, "--method", "GET", "--wait", cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    warning = "DEVELOPMENT: no keys, and tasks may call this machine (127.0.0.1, ::1, localhost)"
    assert warning in dev.output, "that local targets are allowed is said loudly"


def test_ctrl_c_drains_everything_and_says_so(dev: Running, port: int) -> None:
    started = children(dev.pid)
    dev.signal(signal.SIGINT)
    assert dev.wait() == 0
    assert "Stopped" in dev.output
    assert not [pid for pid in started if alive(pid)]
    assert not ready(port)


def test_a_second_signal_does_not_wait_for_what_runs(dev: Running, tmp_path: Path, environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        run("submit", target, "--timeout", "60", cwd=tmp_path, environ=environ)
        peer, _ = silent.accept()
        with peer:
            dev.signal(signal.SIGTERM)
            dev.wait_for_output("worker.draining")
            with pytest.raises(subprocess.TimeoutExpired):
                dev.wait(1)
            dev.signal(signal.SIGTERM)
            dev.wait()


def test_a_child_that_dies_is_started_again(dev: Running, port: int) -> None:
    before = children(dev.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(children(dev.pid)) - set(before)) == len(before), what="new children")
    wait_until(lambda: ready(port), what="the API")
    assert dev.output.count("was killed by signal 9; starting it again") == len(before)


def test_no_process_outlives_a_parent_that_was_killed(dev: Running) -> None:
    family = children(dev.pid)
    family += [pid for child in family for pid in children(child)]
    assert len(family) >= 3, "API, its child, worker"
    dev.signal(signal.SIGKILL)
    dev.wait()
    wait_until(lambda: not [pid for pid in family if alive(pid)], what="the children to end")


def test_a_port_that_is_taken_is_a_sentence_with_another_one(tmp_path: Path, environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("dev", "--port", str(port), cwd=tmp_path, environ=environ)
    assert refused.returncode == 1
    assert f"port {port} is in use; try TASKQUEUE_PORT={port + 1} make run, or " in refused.stderr
    assert f"taskqueue dev --port {port + 1}" in refused.stderr


def test_a_database_that_cannot_be_used_is_said_before_the_port_is_tried(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = environment(tmp_path, database_url="mysql://h/d", port=taken.getsockname()[1])
        refused = run("dev", cwd=tmp_path, environ=environ)
    assert "TASKQUEUE_DATABASE_URL names mysql" in refused.stderr


def test_a_setting_that_stops_a_child_stops_dev(tmp_path: Path) -> None:
    environ = environment(tmp_path, host="0.0.0.0", port=free_port())
    refused = run("dev", cwd=tmp_path, environ=environ)
    assert refused.returncode == 1
    assert "TASKQUEUE_AUTH is off" in refused.stderr
    assert not (tmp_path / ".taskqueue").exists(), "nothing is made before the settings are known to be good"
