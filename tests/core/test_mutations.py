"""The tests of the core notice when an entry of its tables is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("mutations.py")


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_no_fault_in_the_tables_goes_unnoticed() -> None:
    run = subprocess.run(
        [sys.executable, PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    planted = int(run.stdout.splitlines()[-1].split()[0])
    assert planted >= 70
