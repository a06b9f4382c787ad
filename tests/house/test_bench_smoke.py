"""The bench runs, whole, on both databases; with so few tasks its figures only have to be figures."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from bench.report import NOT_LIKE_FOR_LIKE, UNDER, Figure, Row
from tests.support.databases import PostgresServer
from tests.support.project import ROOT

PARTS = {"deliver", "submit", "claim", "settle", "api", "drain", "service", "backlog", "fair"}


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.postgres
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_part_of_the_bench_prints_a_ratio(database: str, postgres_server: PostgresServer) -> None:
    printed = _run("--tiny", "--json", "--database", database, environ={"TASKQUEUE_TEST_POSTGRES": postgres_server.url})
    rows = json.loads(printed)["rows"]
    assert {row["part"] for row in rows} == PARTS
    assert {row["database"] for row in rows} == {"", database}
    assert [row for row in rows if not _sound(row)] == []
    # That of `deliver` needs a client that may be missing; an idle key compares with an idle service alone, and the
    # whole service with its parts.
    of_the_database = [row for row in rows if row["database"] and row["part"] not in {"fair", "service"}]
    assert _cases(of_the_database, like_for_like=False) <= _cases(of_the_database, like_for_like=True)


def test_only_a_row_that_is_like_for_like_is_marked_as_under_a_half() -> None:
    under = Row(part="api", database="sqlite", case="", against="", ours=Figure(1.0), bare=Figure(10.0), ratios=(0.1,))
    assert under.mark == UNDER
    assert replace(under, like_for_like=False).mark == NOT_LIKE_FOR_LIKE
    assert replace(under, ratios=(0.5,)).mark == " "


def test_a_part_that_does_not_exist_is_refused_by_name() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "submit,sleep"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert refused.returncode == 2
    assert "no part is called sleep" in refused.stderr


def _run(*arguments: str, environ: dict[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _cases(rows: list[dict[str, Any]], *, like_for_like: bool) -> set[tuple[str, str]]:
    return {(row["part"], row["case"]) for row in rows if row["like_for_like"] is like_for_like}


def _sound(row: dict[str, Any]) -> bool:
    figures = [row["ratio"], *row["ratios"], row["ours"]["rate"], row["bare"]["rate"]]
    return all(math.isfinite(figure) and figure > 0 for figure in figures)
