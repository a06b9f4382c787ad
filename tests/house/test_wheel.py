"""The wheel, in an environment that has never seen the checkout: installed, migrated, started, used."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.processes import environment, free_port, ready, run, running, wait_until
from tests.support.project import ROOT, files, relative

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in an environment of its own, with nothing but the wheel and what it depends on."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False)
    install = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet", str(wheel)]
    done = subprocess.run([*install, "--disable-pip-version-check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home / "bin" / "taskqueue"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    ours = {relative(path) for path in files()}
    expected = {name for name in ours if name.startswith("taskqueue/")}
    expected |= {f"taskqueue/{name}" for name in ours if name.startswith("migrations/")}
    assert packed == expected


def test_the_installed_program_runs_a_task_from_submit_to_success(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = environment(tmp_path, url=url, port=port, allowed_targets="127.0.0.1")

    def taskqueue(*arguments: str) -> str:
        done = run(*arguments, cwd=tmp_path, environ=environ, program=installed)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "version" in taskqueue("--version")
    assert json.loads(taskqueue("migrate", "--json"))["revision"]
    with (
        running("api", cwd=tmp_path, environ=environ, program=installed),
        running("worker", cwd=tmp_path, environ=environ, program=installed),
    ):
        wait_until(lambda: ready(port), what="the API")
        task = json.loads(taskqueue("submit", f"{url}/healthz", "--method", "GET", "--wait", "--json"))
        assert task["status"] == "succeeded"


def test_postgres_without_its_driver_is_a_sentence(installed: Path, tmp_path: Path) -> None:
    environ = environment(tmp_path, database_url="postgresql://127.0.0.1/x")
    refused = run("migrate", cwd=tmp_path, environ=environ, program=installed)
    assert refused.returncode == 1
    assert "taskqueue-http[postgres]" in refused.stderr
