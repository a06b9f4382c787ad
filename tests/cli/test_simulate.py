"""`taskqueue simulate` and `taskqueue outcomes`: without a service, and without a database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taskqueue.cli import main
from taskqueue.core.outcome import CLASSES


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def simulated(*arguments: str) -> str:
    done = run("simulate", *arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_every_attempt_is_a_line_and_the_end_is_told() -> None:
    header, *lines = simulated("--retry-policy", "lambda-async", "--outcome", "function_error").splitlines()
    assert header.split() == ["ATTEMPT", "OUTCOME", "CHARGED", "EARLIEST", "EXPECTED", "LATEST"]
    assert [line.split()[3:] for line in lines[:3]] == [["0s"] * 3, ["1m"] * 3, ["3m"] * 3]
    assert "3 attempts, then dead (exhausted)" in lines[4]
    assert lines[5].split() == ["Gives", "up", "after", "3m"]
    assert "4m30s" in lines[6]


def test_programs_get_what_the_api_answers() -> None:
    found = json.loads(simulated("--retries", "1", "--timeout", "10", "--json"))
    assert [attempt["latest"] for attempt in found["attempts"]] == [0.0, 2.0]
    assert (found["worstCaseSeconds"], found["givesUp"]["reason"]) == (22.0, "exhausted")


def test_every_option_counts() -> None:
    options = ("--outcome", "throttled", "--outcome", "timeout", "--retry-after", "1m", "--expires-in", "1h")
    shown = simulated(*options, "--backoff", '{"type": "fixed", "initial": "30s"}', "--retries", "2")
    assert "4 attempts, then dead (exhausted)" in shown
    assert "1m to" in shown
    assert "1 attempt" not in shown
    assert "dead (poison)" in simulated("--poison-after", "2", "--retries", "9")
    assert "one attempt, then dead (lost)" in simulated("--on-lost", "dead", "--outcome", "worker_lost")
    typed = ("--retry-policy", '[{"match": ["errorType:Key*"], "retries": 0}]', "--error-type", "KeyError")
    assert "one attempt, then dead (rejected)" in simulated(*typed)
    rules = '[{"match": ["status:5xx"], "retries": 0}]'
    assert "one attempt, then dead (rejected)" in simulated("--retry-policy", rules)


def test_attempts_that_longer_waits_leave_no_time_for_are_marked() -> None:
    assert "never" in simulated("--retries", "9", "--expires-in", "10s")


def test_what_goes_on_and_on_is_cut() -> None:
    shown = simulated("--outcome", "throttled")
    assert "… and 460 more: --json shows them" in shown
    assert "500 attempts and so on, until it expires" in shown
    assert "Gives up" not in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--outcome", "timeuot"), "/outcome: there is no such value; did you mean timeout"),
        (("--retries", "101"), "/retries: expected an integer from 0 to 100"),
        (("--retry-policy", "[{]"), "--retry-policy is not JSON"),
        (("--retry-policy", "lambda_async"), "is one of default, any-error, lambda-async, never, or rules as JSON"),
        (("--backoff", "soon"), "--backoff is not JSON"),
        (("--timeout", "soon"), "/timeout: write seconds as a number, or a duration"),
        (("--retries", "101", "--poison-after", "1"), "; /poisonAfter"),
        (("--retry-policy", '[{"match": ["5xx"]}]'), 'did you mean "status:5xx"?'),
        (("--retry-policy", "never", "--retry-after", "5"), "/retryAfter: only these outcomes hear of a wait"),
    ],
)
def test_what_cannot_be_tried_out_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    failed = run("simulate", *arguments)
    assert failed.exit_code == 1
    assert sentence in failed.output.replace("\n", " ")


def test_every_class_is_listed() -> None:
    shown = run("outcomes").output
    assert all(name in shown for name in CLASSES)
    found = json.loads(run("outcomes", "--json").output)
    assert {row["class"] for row in found} == set(CLASSES)
    assert all(row["what to do"] for row in found)
    assert run("outcomes", "--markdown").output.count("\n| `") == len(CLASSES)


def test_the_tables_are_put_where_a_page_wants_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- classes: made by make docs -->\nold\n<!-- end of classes -->\nafter\n")
    assert run("outcomes", "--into", str(page)).exit_code == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- classes: made by make docs -->\n\n### ")
    assert text.endswith("\n\n<!-- end of classes -->\nafter\n")
    assert "old" not in text.splitlines()
    page.write_text("no mark")
    assert "does not say where the tables belong" in run("outcomes", "--into", str(page)).output


def test_askings_are_marked_among_the_attempts() -> None:
    asked = ("--outcome", "timeout", "--reconcile", '{"url": "https://caller.example/done", "onUnknown": "hold"}')
    shown = simulated(*asked, "--answer", "unknown")
    assert "asked: unknown" in shown.splitlines()[2]
    assert "2 attempts, then dead (uncertain)" in shown
    assert "asked: not-done" in simulated(*asked)
    assert "--reconcile" in run("simulate", "--reconcile", "{").output
