"""`taskqueue tasks explain` against a running service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Service

pytestmark = pytest.mark.e2e
_NEXT = '{"task": {"targetUrl": "https://next.example/"}}'


def submitted(service: Service, *arguments: str) -> dict[str, Any]:
    done = service.command("submit", *arguments, "--json")
    task: dict[str, Any] = json.loads(done.stdout)
    return task


def explained(service: Service, task_id: str) -> tuple[str, dict[str, Any]]:
    """What is printed for people, and for programs."""
    shown = service.command("tasks", "explain", task_id)
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(service.command("tasks", "explain", task_id, "--json").stdout)
    return shown.stdout, found


def test_a_waiting_task_says_until_when_and_what_would_follow(service: Service) -> None:
    task = submitted(service, f"{service.url}/healthz", "--method", "GET", "--delay", "1h", "--retries", "30")
    shown, found = explained(service, task["id"])
    assert shown.startswith(f"It was asked to start no earlier than {task['nextAttemptAt']}")
    assert found["blockedBy"][0]["kind"] == "time"
    assert f"until {task['nextAttemptAt']}" in shown
    assert "To start it now, run: " in shown
    assert f"tasks run-now {task['id']}" in shown
    assert "31 attempts, then dead (exhausted)" in shown
    assert shown.rstrip().endswith("… and 11 more: --json shows them")
    assert len(found["plan"]["attempts"]) == 31


def test_a_dead_task_says_why_and_how_to_send_it_again(service: Service) -> None:
    task = submitted(service, f"{service.url}/nope", "--payload", "{}", "--wait")
    shown, found = explained(service, task["id"])
    assert "(rejected)" in shown.splitlines()[0]
    for words in ("attempt 1: not_found (404)", "the table of outcome classes", "A redrive is safe"):
        assert words in shown
    assert f"dead redrive {task['deadLetterId']}" in shown
    assert (found["plan"], found["next"]) == (None, None)


def test_a_task_that_succeeded_has_nothing_to_undo(service: Service) -> None:
    task = submitted(service, f"{service.url}/healthz", "--method", "GET", "--wait")
    shown, _ = explained(service, task["id"])
    assert "The target answered attempt 1 with status 200" in shown
    assert "Compensation" not in shown
    assert "Plan" not in shown


def test_what_an_ending_sets_off_is_told(service: Service) -> None:
    done = submitted(service, f"{service.url}/healthz", "--method", "GET", "--wait", "--on-success", _NEXT)
    told, found = explained(service, done["id"])
    assert "for https://next.example/ was submitted (onSuccess)" in told
    assert "no longer kept" not in found["followedBy"][0]
    task = submitted(service, f"{service.url}/healthz", "--method", "GET", "--delay", "1h", "--on-success", _NEXT)
    shown, _ = explained(service, task["id"])
    assert "If it succeeds" in shown
    assert "is submitted" in shown


def test_an_unknown_task_is_one_sentence(service: Service) -> None:
    failed = service.command("tasks", "explain", "01900000-0000-7000-8000-000000000000")
    assert failed.returncode == 1
    assert "404" in failed.stderr
