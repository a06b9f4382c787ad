"""The tests of the core alone run every line and branch of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_every_branch_of_the_core_is_run_by_its_own_tests(tmp_path: Path) -> None:
    data = tmp_path / "coverage"
    settings = ["--branch", "--source=taskqueue.core", f"--data-file={data}"]
    # The planted faults are left out: they run these same tests again and again.
    tests = ["tests/core", "--ignore=tests/core/test_mutations.py", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    run = _python(["-m", "coverage", "run", *settings, "-m", "pytest", *tests])
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    report = _python(["-m", "coverage", "report", f"--data-file={data}", "-m", "--fail-under=100"])
    assert report.returncode == 0, report.stdout


def _python(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # A run of the tests under xdist tells its workers so; this one is none of them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
