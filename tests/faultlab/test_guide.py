"""The guide names everything the lab plays, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from taskqueue.core.lambda_function import OWN_HEADERS
from taskqueue.faultlab.lambda_said import EXCEPTIONS
from tests.faultlab.running import RunningLab
from tests.faultlab.wire import ask

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "faultlab.md").read_text()
NAMED = set(re.findall(r"`([^`\s]+)`", GUIDE))


def test_every_play_address_option_and_function_is_named(lab: RunningLab) -> None:
    for kind in ("plays", "addresses", "unplayed", "options", "functions"):
        assert lab.index[kind].keys() - NAMED == set()


def test_every_function_that_is_named_exists(lab: RunningLab) -> None:
    known = {*lab.index["functions"], *lab.index["answersOfLambda"], "lambda://orders"}
    assert set(re.findall(r"lambda://[A-Za-z_-]+", GUIDE)) <= known
    assert "lambda://TooManyRequestsException".removeprefix("lambda://") in EXCEPTIONS


def test_every_path_of_the_lab_that_is_named_is_served(lab: RunningLab) -> None:
    paths = set(re.findall(r"http://127\.0\.0\.1:8585(/[^\s'\"]*)", GUIDE)) - {"/class/timeout"}
    for path in sorted(paths):
        heard = ask(f"{lab.url}{path}", enough=1)
        assert not heard.data or heard.status != 400, path


def test_the_page_about_functions_names_the_headers_that_go_along() -> None:
    named = {name.lower() for name in re.findall(r"`([A-Z][A-Za-z-]+)`", (DOCS / "lambda.md").read_text())}
    assert named >= OWN_HEADERS
