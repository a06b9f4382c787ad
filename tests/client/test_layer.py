"""The client where it runs: quick to import, alone, and out of a Lambda layer."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import taskqueue
from taskqueue.cli.layer import build_layer, lambda_layer

BUDGET = 0.8  # of what it costs to import http.client, which the first request does
ROOT = Path(taskqueue.__file__).parent.parent


def bare(program: str, *path: Path) -> str:
    """What a Python without site packages prints."""
    lines = ["import sys", *(f"sys.path.insert(0, {str(entry)!r})" for entry in path), program]
    command = [sys.executable, "-I", "-S", "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_client_costs_less_than_its_budget() -> None:
    # Processor time, not the wall clock: other tests are running beside this one. A ratio, because machines differ.
    program = "from time import process_time as t; began = t(); import {}; print(t() - began)"
    bare(program.format("taskqueue.client"), ROOT)  # the first one compiles
    ours, http = zip(
        *([float(bare(program.format(name), ROOT)) for name in ("taskqueue.client", "http.client")] for _ in range(9)),
        strict=True,
    )
    assert min(ours) <= BUDGET * min(http), (ours, http)


@pytest.mark.parametrize(
    "use", ["", "taskqueue.client.TaskQueue('https://queue.example.com')"], ids=["imported", "made"]
)
def test_the_client_loads_nothing_but_itself_and_the_standard_library(use: str) -> None:
    program = f"import taskqueue.client\n{use}\nprint(*sys.modules)"
    loaded = set(bare(program, ROOT).split())
    ours = {name for name in loaded if name.startswith("taskqueue")}
    assert ours == {"taskqueue", "taskqueue.client"}
    assert {name.partition(".")[0] for name in loaded - ours} <= sys.stdlib_module_names | {"__main__"}


def test_what_only_the_first_request_needs_is_not_loaded_by_the_import() -> None:
    loaded = bare("import taskqueue.client\nprint(*sys.modules)", ROOT).split()
    assert {"http.client", "ssl", "socket", "hashlib", "email", "threading", "json"}.isdisjoint(loaded)


def test_the_client_works_out_of_the_layer(tmp_path: Path) -> None:
    layer = tmp_path / "layer.zip"
    build_layer(layer)
    program = "import taskqueue.client as c; print(c.__file__, callable(c.verify))"
    assert bare(program, layer / "python") == f"{layer}/python/taskqueue/client.py True"


def test_the_same_client_makes_the_same_layer_byte_for_byte(tmp_path: Path) -> None:
    build_layer(tmp_path / "a.zip")
    build_layer(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as layer:
        assert {entry.date_time for entry in layer.infolist()} == {(1980, 1, 1, 0, 0, 0)}, (
            "no trace of when it was made"
        )


def test_the_layer_holds_the_client_alone_and_every_user_may_read_it(tmp_path: Path) -> None:
    build_layer(tmp_path / "layer.zip")
    with zipfile.ZipFile(tmp_path / "layer.zip") as layer:
        assert layer.testzip() is None
        modes = {entry.filename: stat.filemode(entry.external_attr >> 16) for entry in layer.infolist()}
    names = ("__init__.py", "client.py", "py.typed")
    assert modes == {f"python/taskqueue/{name}": "-rw-r--r--" for name in names}


def test_the_command_writes_the_layer_and_says_what_to_do_with_it(tmp_path: Path) -> None:
    layer = tmp_path / "layer.zip"
    done = CliRunner().invoke(lambda_layer, [str(layer)])
    assert done.exit_code == 0
    assert f"--zip-file fileb://{layer}" in done.output
    assert zipfile.is_zipfile(layer)
    told = json.loads(CliRunner().invoke(lambda_layer, [str(layer), "--json"]).output)
    assert told == {"path": str(layer), "bytes": layer.stat().st_size}
