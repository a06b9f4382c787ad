"""`taskqueue faultlab` as a process: it says where it listens, and ends when told to."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.processes import environment, run, running

pytestmark = pytest.mark.e2e


def test_the_lab_says_where_it_listens_and_ends_when_told_to(tmp_path: Path) -> None:
    with running("faultlab", "--port", "0", cwd=tmp_path, environ=environment(tmp_path)) as lab:
        lab.wait_for_output("Try:")
        for said in ("http://127.0.0.1:", "connect_timeout", "TASKQUEUE_LAMBDA_ENDPOINT="):
            assert said in lab.output
        lab.signal(2)
        assert lab.wait() == 0


def test_everything_it_plays_can_be_had_as_json(tmp_path: Path) -> None:
    with running("faultlab", "--port", "0", "--json", cwd=tmp_path, environ=environment(tmp_path)) as lab:
        lab.wait_for_output('"environment"')
        lab.signal(15)
        assert lab.wait() == 0
        assert json.loads(lab.output)["plays"]["timeout"]["class"] == "timeout"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("faultlab", "--port", str(port), cwd=tmp_path, environ=environment(tmp_path))
    assert refused.returncode == 1
    assert f"the ports from {port} on 127.0.0.1 cannot be had" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_handler_is_named_with_its_module(tmp_path: Path) -> None:
    refused = run("faultlab", "--function", "orders", cwd=tmp_path, environ=environment(tmp_path))
    assert refused.returncode == 1
    assert "write NAME=MODULE.HANDLER, such as orders=app.handler" in refused.stderr
