"""submit, tasks and dead against a running service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Service

pytestmark = pytest.mark.e2e


def test_a_submitted_task_is_waited_for_and_shown(service: Service) -> None:
    done = service.command("submit", f"{service.url}/healthz", "--method", "GET", "--label", "mine", "--wait")
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    task = _only(service, "tasks", "list", "--label", "mine")
    assert task["status"] == "succeeded"
    shown = _json(service, "tasks", "show", task["id"])
    assert shown["result"]["statusCode"] == 200
    attempts = _json(service, "tasks", "attempts", task["id"])["items"]
    assert [attempt["class"] for attempt in attempts] == ["success"]


def test_a_task_that_dies_is_an_exit_code_and_a_dead_letter_that_can_be_redriven(service: Service) -> None:
    payload = json.dumps({"invoice": 7})
    died = service.command("submit", f"{service.url}/nope", "--payload", "-", "--wait", "--json", text=payload)
    assert died.returncode == 1
    task = json.loads(died.stdout)
    assert (task["status"], task["deadReason"]) == ("dead", "rejected")

    letter = _only(service, "dead", "list", "--class", "not_found")
    shown = service.command("dead", "show", letter["id"])
    assert '{"invoice": 7}' in shown.stdout
    redriven = _json(
        service, "dead", "redrive", letter["id"], "--target-url", f"{service.url}/v1/tasks/cancel", "--timeout", "5"
    )
    assert redriven["id"] == task["id"]
    assert redriven["generation"] == 2
    assert redriven["timeout"] == 5.0
    again = service.command("dead", "redrive", letter["id"])
    assert again.returncode == 1
    assert "redriven before" in again.stderr


def test_a_waiting_task_can_be_pulled_forward_or_called_off(service: Service) -> None:
    url = f"{service.url}/healthz"
    task = _json(service, "submit", url, "--method", "GET", "--delay", "1h", "--timeout", "1.5")
    assert task["status"] == "scheduled"
    assert _json(service, "tasks", "run-now", task["id"])["id"] == task["id"]

    other = _json(service, "submit", url, "--method", "GET", "--delay", "3600", "--header", "X-Color: blue")
    assert other["headers"] == {"X-Color": "blue"}
    assert _json(service, "tasks", "cancel", other["id"])["status"] == "cancelled"
    refused = service.command("tasks", "cancel", other["id"])
    assert refused.returncode == 1
    assert "409" in refused.stderr


def test_lists_are_tables_that_can_be_paged(service: Service) -> None:
    for _ in range(3):
        _json(service, "submit", f"{service.url}/healthz", "--method", "GET", "--queue", "paged")
    first = service.command("tasks", "list", "--queue", "paged", "--limit", "2")
    header, *rows = first.stdout.splitlines()
    assert header.split() == ["ID", "STATUS", "ATTEMPT", "CREATED", "TARGET"]
    assert len(rows) == 2
    cursor = first.stderr.split()[-1]
    second = service.command("tasks", "list", "--queue", "paged", "--limit", "2", "--cursor", cursor)
    assert len(second.stdout.splitlines()) == 2
    assert not {line.split()[0] for line in rows} & {line.split()[0] for line in second.stdout.splitlines()[1:]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit", "https://x.example/", "--payload", "{nope"), "--payload is not JSON"),
        (("submit", "https://x.example/", "--header", "nope"), "--header is NAME:VALUE"),
        (("submit", "ftp://x.example/"), "/targetUrl"),
        (("submit", "https://x.example/", "--timeout", "soon"), "/timeout"),
        (("tasks", "show", "01900000-0000-7000-8000-000000000000"), "404"),
        (("tasks", "list", "--status", "lost"), "422"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(service: Service, arguments: tuple[str, ...], sentence: str) -> None:
    failed = service.command(*arguments)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert len(failed.stderr.strip().splitlines()) == 1
    assert sentence in failed.stderr


def _json(service: Service, *arguments: str) -> Any:
    done = service.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _only(service: Service, *arguments: str) -> Any:
    (item,) = _json(service, *arguments)["items"]
    return item
