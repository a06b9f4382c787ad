"""The breakers commands against a running service."""

from __future__ import annotations

import json
import socket

import pytest

from tests.cli.conftest import Service
from tests.support.processes import wait_until

pytestmark = pytest.mark.e2e


def test_a_host_that_fails_is_listed_and_its_breaker_closed_by_hand(service: Service) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{dead.getsockname()[1]}"
        assert service.command("breakers", "list").returncode == 0
        tasks = [
            service.command("submit", f"{origin}/work", "--retries", "100", "--backoff", json.dumps(_QUICK))
            for _ in range(3)
        ]
        assert [done.returncode for done in tasks] == [0, 0, 0]
        wait_until(lambda: origin in service.command("breakers", "list").stdout, what="an open breaker")
        (shown,) = _json(service, "breakers", "list", "--origin", f"{origin}/work")["items"]
        assert (shown["origin"], shown["failures"] >= 1) == (origin, True)
        assert {"ORIGIN", "STATE", "TRIPS", origin} <= set(service.command("breakers", "list").stdout.split())

        closed = service.command("breakers", "reset", origin)
        assert closed.stdout == f"The breaker of {origin} is closed.\n"
        assert _json(service, "breakers", "reset", origin)["state"] == "closed"


def test_a_host_without_a_breaker_is_a_sentence(service: Service) -> None:
    unknown = service.command("breakers", "reset", "https://sound.example")
    assert unknown.returncode == 1
    assert "has no breaker" in unknown.stderr
    assert _json(service, "breakers", "list", "--origin", "https://sound.example")["items"] == []


_QUICK = {"type": "fixed", "initial": 0.1, "jitter": "none"}


def _json(service: Service, *arguments: str) -> dict[str, object]:
    done = service.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found
