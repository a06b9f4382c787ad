"""The bench beside other queues runs, whole, and says of a queue that is not installed that it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from bench.peer_drain import Drained
from bench.peer_report import PeerRow, line
from bench.peers import PEERS
from bench.report import NOT_LIKE_FOR_LIKE, UNDER
from tests.support.databases import PostgresServer
from tests.support.project import ROOT


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_every_peer_has_a_row_with_its_rates_or_with_what_is_missing(postgres_server: PostgresServer) -> None:
    rows = {row["peer"]: row for row in _run(environ={"TASKQUEUE_TEST_POSTGRES": postgres_server.url})}
    for peer in PEERS:
        row = rows[peer.name]
        if missing := [name for name in peer.needs if not _installed(name)]:
            assert row["why_not"] == f"not installed: {missing[0]}"
            assert row["rounds"] == []
        else:
            assert row["why_not"] == ""
            assert all(ratio > 0 for ratio in row["ratios"])
            assert row["rounds"] != []


def test_a_peer_that_is_not_installed_is_neither_beaten_nor_left_out() -> None:
    row = PeerRow(peer="Other", answers_after=0.0, least=10.0, why_not="not installed: other")
    assert line(row).split() == ["Other", "0", "ms", "not", "installed:", "other"]


def test_only_a_ratio_to_a_queue_is_marked_as_under_what_is_to_be_reached() -> None:
    rounds = [(Drained(900.0), Drained(100.0))]
    assert PeerRow(peer="Other", answers_after=0.0, least=10.0, rounds=rounds).mark == UNDER
    assert PeerRow(peer="Other", answers_after=0.0, least=9.0, rounds=rounds).mark == " "
    assert PeerRow(peer="Other", answers_after=0.05, rounds=rounds).mark == " "
    assert PeerRow(peer="no queue", answers_after=0.0, limit=True, rounds=rounds).mark == NOT_LIKE_FOR_LIKE


def _run(*, environ: dict[str, str]) -> list[dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "--peers", "--tiny", "--json"],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stderr
    rows: list[dict[str, Any]] = json.loads(ran.stdout)["peers"]
    return rows


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
