"""The commands about queues and flow keys against a running service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Service
from tests.support.processes import wait_until

pytestmark = pytest.mark.e2e
ORIGIN = "https://far.example:443"


def _json(service: Service, *arguments: str) -> Any:
    done = service.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _facts(service: Service, *arguments: str) -> dict[str, str]:
    """What a command prints for people."""
    done = service.command(*arguments)
    assert done.returncode == 0, done.stderr
    return {
        name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in done.stdout.splitlines())
    }


def test_a_queue_is_limited_and_gives_its_tasks_defaults(service: Service) -> None:
    defaults = '{"retries": 7, "payload": {"a": 1.00}}'
    bounds = ("--concurrency", "5", "--rate", "100/1m", "--burst", "10", "--on-death", "skip", "--paused")
    made = service.command("queues", "set", "mail", *bounds, "--defaults", defaults, "--json")
    assert f'"defaults":{defaults}' in made.stdout
    shown = _facts(service, "queues", "show", "mail")
    assert (shown["Queue"], shown["Paused"], shown["Concurrency"]) == ("mail", "true", "5")
    assert shown["Rate"] == "100 per 60 s, 10 at once"
    task = _json(service, "submit", ORIGIN, "--queue", "mail", "--priority", "9", "--flow-key", "smtp")
    assert (task["retries"], task["priority"], task["flowKey"], task["payload"]) == (7, 9, "smtp", {"a": 1.0})
    listed = service.command("queues", "list").stdout.splitlines()
    assert listed[0].split()[:2] == ["NAME", "PAUSED"]
    assert any(line.startswith("mail") and "true" in line for line in listed)


def test_a_paused_queue_is_purged_and_forgotten(service: Service) -> None:
    _json(service, "queues", "set", "old", "--paused")
    task = _json(service, "submit", ORIGIN, "--queue", "old")
    assert _facts(service, "queues", "show", "old")["Queued"] == "1"
    purged = service.command("queues", "purge", "old")
    assert purged.stdout.startswith("Waiting tasks that are being cancelled: 1; see /v1/operations/")
    wait_until(lambda: _json(service, "tasks", "show", task["id"])["status"] == "cancelled", what="the purge")
    assert _facts(service, "queues", "resume", "old")["Paused"] == "false"
    assert _facts(service, "queues", "pause", "old")["Paused"] == "true"
    assert service.command("queues", "delete", "old").stdout == "Nothing is defined for old any more; its tasks stay.\n"
    gone = service.command("queues", "delete", "old")
    assert (gone.returncode, "nothing is defined" in gone.stderr) == (1, True)


def test_a_flow_key_that_is_a_url_is_limited_and_let_go(service: Service) -> None:
    made = _json(service, "flow-keys", "set", ORIGIN, "--concurrency", "2", "--rate", "10/1s")
    assert (made["key"], made["concurrency"], made["rate"]["burst"]) == (ORIGIN, 2, 10)
    assert _facts(service, "flow-keys", "show", ORIGIN)["Rate"] == "10 per 1 s"
    assert _facts(service, "flow-keys", "pause", ORIGIN)["Flow key"] == ORIGIN
    assert ORIGIN in service.command("flow-keys", "list").stdout
    assert _json(service, "flow-keys", "purge", ORIGIN)["verb"] == "cancel"
    assert _json(service, "flow-keys", "resume", ORIGIN)["paused"] is False
    assert _json(service, "flow-keys", "delete", ORIGIN) == {"deleted": ORIGIN}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rate", "100"), "--rate is LIMIT/PERIOD"),
        (("--burst", "1"), "--burst goes with --rate"),
        (("--concurrency", "0"), "/concurrency"),
        (("--defaults", "[1]"), "/defaults"),
        (("--defaults", "{"), "--defaults is not JSON"),
        (("--on-death", "explode"), "/onDeath"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(service: Service, options: tuple[str, ...], said: str) -> None:
    refused = service.command("queues", "set", "odd", *options)
    assert refused.returncode == 1
    assert said in refused.stderr


def test_a_blocked_key_is_listed_explained_and_unblocked(service: Service) -> None:
    _json(service, "queues", "set", "strict", "--on-death", "block", "--defaults", '{"orderingKey": "a b"}')
    nowhere = f"{service.url}/nowhere"  # a 404, and so dead at once
    dead, held = (_json(service, "submit", nowhere, "--queue", "strict") for _ in range(2))
    wait_until(lambda: _json(service, "tasks", "show", dead["id"])["status"] == "dead", what="the death")
    (block,) = _json(service, "queues", "blocks", "strict")["items"]
    assert (block["orderingKey"], block["taskId"], block["waiting"]) == ("a b", dead["id"], 1)
    listed = service.command("queues", "blocks", "strict").stdout.splitlines()
    assert listed[0].split()[:2] == ["ORDERING", "KEY"]
    shown = _facts(service, "queues", "show", "strict")
    assert (shown["On death"], shown["Blocked keys"]) == ("block", "1")
    assert "taskqueue queues unblock strict 'a b'" in service.command("tasks", "explain", held["id"]).stdout
    assert _facts(service, "tasks", "explain", dead["id"])["Blocks"].startswith("ordering key a b since ")
    done = service.command("queues", "unblock", "strict", "a b")
    assert done.stdout == "The tasks of the ordering key a b go on.\n"
    again = service.command("queues", "unblock", "strict", "another", "--json")
    assert (again.returncode, "nothing blocks this ordering key" in again.stderr) == (1, True)
