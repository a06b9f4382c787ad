"""`taskqueue doctor`, `settings` and `signing-secret`: what stands, and what to do about the rest."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.databases import PostgresServer
from tests.support.processes import environment, free_port, run


def test_all_is_well_with_a_migrated_database(database_url: str, tmp_path: Path) -> None:
    code, findings = _doctor(tmp_path, database_url=database_url, port=free_port())
    assert code == 0
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    assert {"settings", "database", "durability", "migrations", "clock", "secret", "port", "open files"} <= set(
        findings
    )


def test_a_bare_database_is_found_with_the_command_that_mends_it(bare_database_url: str, tmp_path: Path) -> None:
    code, findings = _doctor(tmp_path, database_url=bare_database_url)
    assert code == 1
    failed = [finding for finding in findings.values() if finding["level"] == "fail"]
    assert "taskqueue migrate" in f"{failed[0]['found']} {failed[0]['advice']}"


def test_a_file_that_others_can_open_is_found(sqlite_url: str, tmp_path: Path) -> None:
    file = Path(sqlite_url.partition(":///")[2])
    file.parent.chmod(0o755)
    file.chmod(0o644)
    _, findings = _doctor(tmp_path, database_url=sqlite_url)
    assert findings["privacy"]["level"] == "warn"
    assert "chmod 600" in findings["privacy"]["advice"]
    file.chmod(0o600)
    assert _doctor(tmp_path, database_url=sqlite_url)[1]["privacy"]["level"] == "ok"


@pytest.mark.postgres
def test_a_database_that_the_server_does_not_have_is_named_with_the_command_that_makes_it(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with postgres_server.database() as url:
        absent = url.replace(psycopg.conninfo.conninfo_to_dict(url)["dbname"], "absent", 1)
        _, findings = _doctor(tmp_path, database_url=absent)
    assert findings["database"]["advice"] == "create it: createdb absent"


def test_a_server_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    code, findings = _doctor(tmp_path, database_url="postgresql://someone:hunter2@127.0.0.1:1/db")
    assert code == 1
    assert "refused" in findings["database"]["found"]
    assert "hunter2" not in json.dumps(findings)


@pytest.mark.postgres
def test_a_server_that_could_lose_a_commit_is_found(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with postgres_server.database() as url:
        with psycopg.connect(url) as conn:
            name = sql.Identifier(conn.info.dbname)
            conn.execute(sql.SQL("alter database {} set synchronous_commit = off").format(name))
        code, findings = _doctor(tmp_path, database_url=url)
        assert (code, findings["durability"]["level"]) == (1, "fail")
        assert "synchronous_commit" in findings["durability"]["found"]


def test_a_port_in_use_and_a_misspelt_variable_are_found(sqlite_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, findings = _doctor(tmp_path, database_url=sqlite_url, port=port, lease_second=3)
    assert code == 1
    assert findings["port"]["level"] == "fail"
    assert findings["settings"]["level"] == "warn"
    assert "TASKQUEUE_LEASE_SECONDS" in findings["settings"]["advice"]


def test_where_functions_are_invoked_and_with_whose_keys_is_told(sqlite_url: str, tmp_path: Path) -> None:
    given = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    code, findings = _doctor(tmp_path, given, database_url=sqlite_url, lambda_region="eu-west-1")
    assert (code, findings["lambda"]["level"]) == (0, "ok")
    assert "eu-west-1 are invoked at https://lambda.eu-west-1.amazonaws.com:443" in findings["lambda"]["found"]
    assert "AKIAIOSFODNN7EXAMPLE" not in json.dumps(findings)
    assert "hunter2" not in json.dumps(findings)


def test_a_region_without_credentials_is_a_warning_with_what_to_set(sqlite_url: str, tmp_path: Path) -> None:
    code, findings = _doctor(tmp_path, database_url=sqlite_url, lambda_region="eu-west-1")
    assert (code, findings["lambda"]["level"]) == (0, "warn")
    assert "AWS_ACCESS_KEY_ID" in findings["lambda"]["advice"]
    assert "lambda" not in _doctor(tmp_path, database_url=sqlite_url)[1]


def test_people_get_a_line_per_check_with_what_to_do_below(tmp_path: Path) -> None:
    told = run("doctor", cwd=tmp_path, environ=environment(tmp_path, port=free_port()))
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    assert any(line.startswith("fail  database") for line in lines)
    assert any(line.strip() == "-> run: taskqueue migrate" for line in lines)


def test_settings_are_listed_without_secrets(tmp_path: Path) -> None:
    secret = "whsec_" + "QUJD" * 10
    environ = environment(tmp_path, signing_secret=secret, database_url="postgresql://u:hunter2@h/d", port=9000)
    listed = run("settings", cwd=tmp_path, environ=environ)
    values = json.loads(run("settings", "--json", cwd=tmp_path, environ=environ).stdout)
    assert values["TASKQUEUE_PORT"] == 9000
    assert values["TASKQUEUE_SIGNING_SECRET"] == "set"
    assert "hunter2" not in listed.stdout + json.dumps(values)
    assert secret not in listed.stdout + json.dumps(values)


def test_the_signing_secret_is_made_once_and_the_given_one_wins(sqlite_url: str, tmp_path: Path) -> None:
    environ = environment(tmp_path, database_url=sqlite_url)
    made = run("signing-secret", cwd=tmp_path, environ=environ).stdout
    assert made.startswith("whsec_")
    assert run("signing-secret", cwd=tmp_path, environ=environ).stdout == made
    given = "whsec_" + "QUJD" * 10
    environ = environment(tmp_path, database_url=sqlite_url, signing_secret=given)
    assert json.loads(run("signing-secret", "--json", cwd=tmp_path, environ=environ).stdout) == {"secrets": [given]}


def _doctor(
    directory: Path, aws: Mapping[str, str] = MappingProxyType({}), **variables: object
) -> tuple[int, dict[str, Any]]:
    """Code and findings, with ``aws`` and nothing else to find credentials by."""
    ours = environment(directory, **({"port": free_port()} | variables))
    without = {name: text for name, text in ours.items() if not name.startswith("AWS_")}
    environ = {**without, "AWS_EC2_METADATA_DISABLED": "true", **aws}
    told = run("doctor", "--json", cwd=directory, environ=environ)
    return told.returncode, {finding["check"]: finding for finding in json.loads(told.stdout)}
