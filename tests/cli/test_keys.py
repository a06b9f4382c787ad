"""`taskqueue projects` and `taskqueue keys`, straight on the database, and a service that asks for what they make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskqueue.core.api_key import is_key
from tests.support.processes import environment, free_port, ready, run, running, wait_until

pytestmark = pytest.mark.e2e


class Operator:
    """Somebody with a shell and the database."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url = directory, url

    def said(self, *arguments: str) -> str:
        done = run(*arguments, cwd=self.directory, environ=environment(self.directory, database_url=self.url))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.said(*arguments, "--json"))

    def refused(self, *arguments: str) -> str:
        done = run(*arguments, cwd=self.directory, environ=environment(self.directory, database_url=self.url))
        assert done.returncode == 1
        (sentence,) = done.stderr.splitlines()
        return sentence


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Operator:
    return Operator(tmp_path, database_url)


@pytest.fixture
def alone(tmp_path: Path, sqlite_url: str) -> Operator:
    """For what has nothing to do with the database."""
    return Operator(tmp_path, sqlite_url)


def test_a_key_is_made_listed_rotated_and_revoked(operator: Operator) -> None:
    text = operator.said("keys", "create", "--name", "ci", "--scope", "submit", "--scope", "read").strip()
    assert is_key(text), "alone on standard output, to be put into a variable"
    (listed,) = operator.json("keys", "list")["items"]
    assert (listed["name"], listed["scopes"], listed["status"]) == ("ci", ["submit", "read"], "active")
    assert listed["prefix"] == text[:11]
    new = operator.json("keys", "rotate", listed["id"], "--overlap", "1h")
    assert is_key(new["key"])
    first, second = operator.json("keys", "list")["items"]
    assert (first["id"], second["replacedBy"], second["status"]) == (new["id"], new["id"], "active")
    assert text[:11] in operator.said("keys", "revoke", listed["id"])
    assert operator.json("keys", "revoke", listed["id"])["status"] == "revoked", "twice is as good as once"
    table = operator.said("keys", "list")
    assert {"ID", "SCOPES", "LAST", listed["id"], "revoked", "submit"} <= set(table.split())
    assert text[11:] not in table


def test_a_project_has_keys_and_a_secret_of_its_own(operator: Operator) -> None:
    assert "keys create --project acme" in operator.said("projects", "create", "acme")
    assert operator.json("projects", "create", "zoo")["name"] == "zoo"
    assert [item["name"] for item in operator.json("projects", "list")["items"]] == ["acme", "default", "zoo"]
    assert "acme" in operator.said("projects", "list")
    made = operator.json("keys", "create", "--project", "acme", "--expires-in", "90d")
    assert (made["project"], made["scopes"]) == ("acme", ["submit", "read", "manage"])
    assert made["expiresAt"]
    assert operator.json("keys", "list")["items"] == []
    assert operator.json("keys", "list", "--project", "acme")["items"][0]["id"] == made["id"]
    assert "--project" in operator.refused("keys", "revoke", made["id"])
    assert "--project" in operator.refused("keys", "rotate", made["id"])
    secrets = [operator.said("signing-secret", *options) for options in ((), ("--project", "acme"))]
    assert len(set(secrets)) == 2
    assert operator.said("signing-secret", "--project", "acme") == secrets[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("projects", "create", "Acme"), "lower-case letters"),
        (("projects", "create", "default"), "already"),
        (("projects", "list", "--cursor", "x"), "cursor"),
        (("keys", "create", "--project", "nowhere"), "projects create nowhere"),
        (("keys", "create", "--name", ""), "--name"),
        (("keys", "create", "--expires-in", "soon"), "--expires-in: write seconds"),
        (("keys", "create", "--expires-in", "0"), "--expires-in is 1s to"),
        (("keys", "create", "--expires-in", "nan"), "--expires-in is 1s to"),
        (("keys", "revoke", "tq_abc"), "by its id"),
        (("keys", "revoke", "01900000-0000-7000-8000-000000000000"), "no API key 01900000"),
        (("keys", "rotate", "01900000-0000-7000-8000-000000000000", "--overlap", "31d"), "--overlap is 0s to 30d"),
        (("signing-secret", "--project", "nowhere"), "no project nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(alone: Operator, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in alone.refused(*arguments)


def test_a_scope_that_there_is_not_is_named_with_those_there_are(alone: Operator) -> None:
    done = run("keys", "create", "--scope", "root", cwd=alone.directory, environ=environment(alone.directory))
    assert (done.returncode, "admin" in done.stderr) == (2, True)


def test_commands_and_clients_get_in_with_a_key_and_see_their_project_alone(alone: Operator) -> None:
    port = free_port()
    served = environment(alone.directory, database_url=alone.url, port=port, auth="on", allowed_targets="127.0.0.1")
    alone.said("projects", "create", "acme")
    keys = [alone.said("keys", "create", "--project", project).strip() for project in ("default", "acme")]
    ours, theirs = (environment(alone.directory, url=f"http://127.0.0.1:{port}", api_key=key) for key in keys)
    nobody = environment(alone.directory, url=f"http://127.0.0.1:{port}")
    with running("api", cwd=alone.directory, environ=served):
        wait_until(lambda: ready(port), what="the API")
        submitted = run("submit", f"http://127.0.0.1:{port}/healthz", "--json", cwd=alone.directory, environ=ours)
        assert submitted.returncode == 0, submitted.stderr
        task_id = json.loads(submitted.stdout)["id"]
        found = [
            run("tasks", "show", task_id, cwd=alone.directory, environ=environ) for environ in (ours, theirs, nobody)
        ]
    assert [done.returncode for done in found] == [0, 1, 1]
    assert "404" in found[1].stderr
    assert "401" in found[2].stderr


def test_dev_says_how_to_bring_a_key_where_they_are_asked_for(alone: Operator) -> None:
    port = free_port()
    environ = environment(alone.directory, database_url=alone.url, auth="on")
    with running("dev", "--port", str(port), cwd=alone.directory, environ=environ) as dev:
        dev.wait_for_output("keys create")
        dev.wait_for_output("X-API-Key: $TASKQUEUE_API_KEY")
        assert "no keys" not in dev.output


def test_the_doctor_misses_a_key_where_they_are_asked_for(alone: Operator) -> None:
    environ = environment(alone.directory, database_url=alone.url, auth="on", port=free_port(), host="0.0.0.0")

    def look() -> dict[str, Any]:
        done = run("doctor", "--json", cwd=alone.directory, environ=environ)
        found: dict[str, Any] = next(each for each in json.loads(done.stdout) if each["check"] == "api keys")
        return found

    assert (look()["level"], "keys create" in look()["advice"]) == ("warn", True)
    alone.said("keys", "create")
    assert (look()["level"], look()["found"].endswith(": 1")) == ("ok", True)
