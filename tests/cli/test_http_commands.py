"""submit, tasks and dead against a running service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Service
from tests.support.processes import environment, run, running, wait_until

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
    payload = '{"invoice": 7.50, "invoice":1e400}'
    died = service.command("submit", f"{service.url}/nope", "--payload", "-", "--wait", "--json", text=payload)
    assert died.returncode == 1
    task = json.loads(died.stdout)
    assert payload in died.stdout
    assert died.stderr.splitlines()[0] == f"Task {task['id']}"
    assert (task["status"], task["deadReason"]) == ("dead", "rejected")

    letter = _only(service, "dead", "list", "--class", "not_found")
    shown = service.command("dead", "show", letter["id"])
    assert payload in shown.stdout
    assert "GENERATION" in shown.stdout, "every attempt is listed"
    listed = service.command("dead", "list", "--class", "not_found").stdout
    assert {"TASK", "KIND", task["id"]} <= set(listed.split())
    redriven = _json(
        service, "dead", "redrive", letter["id"], "--target-url", f"{service.url}/v1/tasks/cancel", "--timeout", "5"
    )
    assert redriven["id"] == task["id"]
    assert redriven["generation"] == 2
    assert redriven["timeout"] == 5.0
    again = service.command("dead", "redrive", letter["id"])
    assert again.returncode == 1
    assert "redriven before" in again.stderr


def test_a_dead_task_is_shown_with_the_command_that_redrives_it(service: Service) -> None:
    died = service.command("submit", f"{service.url}/nope", "--queue", "shown", "--wait")
    letter = _only(service, "dead", "list", "--queue", "shown")
    assert f"{letter['id']}; run it again with: taskqueue dead redrive {letter['id']}" in died.stdout
    assert _only(service, "dead", "list", "--task", letter["taskId"], "--kind", "task")["id"] == letter["id"]
    service.command("dead", "redrive", letter["id"], "--target-url", f"{service.url}/v1/tasks/cancel")
    assert "dead redrive " + letter["id"] not in service.command("tasks", "show", letter["taskId"]).stdout


def test_a_task_is_shown_with_the_webhooks_that_fail(service: Service) -> None:
    told = ("--webhook-url", f"{service.url}/nope")
    task = _json(service, "submit", f"{service.url}/healthz", "--method", "GET", *told, "--wait")
    wait_until(lambda: "failed" in service.command("tasks", "show", task["id"]).stdout, what="a failing webhook")
    shown = service.command("tasks", "show", task["id"]).stdout
    webhook = _only(service, "tasks", "list", "--kind", "webhook")
    assert f"{webhook['id']} failed, attempt 1 of 11, not_found: the target answered 404; next " in shown
    done = _json(service, "submit", f"{service.url}/healthz", "--method", "GET", "--wait")
    assert "failed" not in service.command("tasks", "show", done["id"]).stdout


def test_policies_and_follow_ups_are_submitted_as_they_are_written(service: Service) -> None:
    follow_up = json.dumps({"task": {"targetUrl": f"{service.url}/healthz", "method": "GET"}, "match": ["not_found"]})
    success = '{"task": {"targetUrl": "https://next.example/", "payload": [1e400,  {"a":1,"a":2}]}}'
    submitted = service.command(
        *("submit", f"{service.url}/nope", "--retry-policy", '[{"match": ["not_found"], "retries": 0}]', "--json"),
        *("--verdict", '[{"when": {"status": "404", "header": "x-none"}, "outcome": "retry"}]'),
        *("--reconcile", '{"url": "https://ask.example/"}', "--on-lost", "dead", "--poison-after", "3"),
        *("--on-failure", follow_up, "--on-success", success, "--queue", "policies"),
    )
    assert submitted.returncode == 0, submitted.stderr
    assert '"payload":[1e400,  {"a":1,"a":2}]' in submitted.stdout
    task = json.loads(submitted.stdout)
    assert [rule["match"] for rule in task["retryPolicy"]] == [["not_found"]]
    assert (task["onLost"], task["poisonAfter"], task["verdict"][0]["outcome"]) == ("dead", 3, "retry")
    assert task["reconcile"]["url"] == "https://ask.example/"


@pytest.mark.parametrize(
    ("option", "value", "form"),
    [
        ("--reconcile", "http://x.example/", '{"url": "http://x.example/"}'),
        ("--on-failure", "https://x.example/", '{"task": {"targetUrl": "https://x.example/"}}'),
    ],
)
def test_a_bare_url_where_json_belongs_is_answered_with_its_form(
    service: Service, option: str, value: str, form: str
) -> None:
    refused = service.command("submit", service.url, option, value)
    assert (refused.returncode, form in refused.stderr) == (1, True)


def test_waits_and_an_expiry_can_be_submitted(service: Service) -> None:
    waits = '{"type": "fixed", "initial": "30s"}'
    task = _json(service, "submit", service.url, "--delay", "1h", "--backoff", waits, "--expires-in", "2h")
    assert (task["backoff"]["type"], task["backoff"]["initial"]) == ("fixed", 30.0)
    explained = service.command("tasks", "explain", task["id"]).stdout
    assert ["Expires", task["expiresAt"]] in [line.split() for line in explained.splitlines()]


def test_a_compensated_task_is_shown_with_its_chain_and_redriven_only_by_force(service: Service) -> None:
    follow_up = json.dumps({"task": {"targetUrl": f"{service.url}/healthz", "method": "GET"}})
    options = ("--queue", "compensated", "--retry-policy", "any-error", "--retries", "0")
    task = json.loads(
        service.command("submit", f"{service.url}/nope", *options, "--on-failure", follow_up, "--wait", "--json").stdout
    )
    letter = _only(service, "dead", "list", "--queue", "compensated")
    assert letter["compensationId"]
    shown = service.command("tasks", "show", task["id"]).stdout
    assert f"{task['id']} dead POST {service.url}/nope (this task)" in shown
    assert letter["compensationId"] in shown
    assert letter["fingerprint"] in shown
    assert letter["compensationId"] in service.command("dead", "show", letter["id"]).stdout
    assert f"{service.url}/healthz (compensation)" in shown
    assert f"dead redrive {letter['id']} --force" in shown
    explained = service.command("tasks", "explain", task["id"]).stdout
    assert f"dead redrive {letter['id']} --force" in explained
    assert f"task {letter['compensationId']} for {service.url}/healthz was submitted (onFailure)" in explained
    refused = service.command("dead", "redrive", letter["id"])
    assert (refused.returncode, "to compensate for this death" in refused.stderr) == (1, True)
    assert "add --force" in refused.stderr
    assert _json(service, "dead", "redrive", letter["id"], "--force")["generation"] == 2


def test_dead_letters_are_counted_by_cause(service: Service) -> None:
    for _ in range(2):
        service.command("submit", f"{service.url}/nope", "--queue", "grouped", "--wait")
    (group,) = _json(service, "dead", "groups", "--queue", "grouped")["items"]
    assert (group["count"], group["class"]) == (2, "not_found")
    table = service.command("dead", "groups", "--queue", "grouped").stdout
    assert {"COUNT", "FINGERPRINT", group["fingerprint"], group["exampleId"]} <= set(table.split())
    assert _json(service, "dead", "groups", "--queue", "nowhere")["items"] == []


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
        (
            ("submit", "https://x.example/", "--payload", "hello"),
            "a text needs quotes: '\"hello\"'; - reads standard input",
        ),
        (("submit", "https://x.example/", "--payload", "[NaN]"), "--payload is not JSON: NaN is not allowed"),
        (("submit", "https://x.example/", "--payload", "[" * 65 + "]" * 65), "--payload is nested deeper than 64"),
        (("submit", "https://x.example/", "--on-failure", "{"), "--on-failure is not JSON"),
        (("submit", "https://x.example/", "--retry-policy", "[{]"), "--retry-policy is not JSON"),
        (("submit", "https://x.example/", "--retry-policy", "nevr"), "--retry-policy is one of default, any-err"),
        (("submit", "https://x.example/", "--on-success", '{"task": {}}'), "/onSuccess/task/targetUrl"),
        (("dead", "redrive", "01900000-0000-7000-8000-000000000000", "--payload", "hello"), "--payload is not JSON"),
        (("submit", "https://x.example/", "--header", "A: 1", "--header", "a: 2"), "--header a is given twice"),
        (("tasks", "show", "nope"), "nope is not a task id (a UUID)"),
        (("dead", "show", "123"), "123 is not a dead letter id (a UUID)"),
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


def test_a_redriven_payload_arrives_byte_for_byte(service: Service) -> None:
    service.command("submit", f"{service.url}/nope", "--queue", "edited", "--wait")
    letter = _only(service, "dead", "list", "--queue", "edited")
    text = '[1e400,  {"a":1,"a":2}]'
    redriven = service.command("dead", "redrive", letter["id"], "--payload", text, "--json")
    assert text in redriven.stdout
    assert text in service.command("tasks", "show", letter["taskId"], "--json").stdout


def test_ctrl_c_leaves_the_task_and_says_how_to_look_at_it(service: Service) -> None:
    arguments = ("submit", f"{service.url}/healthz", "--method", "GET", "--delay", "1h", "--wait")
    with running(*arguments, cwd=service.directory, environ=service.environ) as waiting:
        waiting.wait_for_output("Task ")
        task_id = waiting.output.split()[1]
        waiting.signal(signal.SIGINT)
        assert waiting.wait() == 130
        assert f"The task runs on; look at it with: taskqueue tasks show {task_id}" in waiting.output
    assert _json(service, "tasks", "show", task_id)["status"] == "scheduled"


def test_a_reader_that_has_seen_enough_ends_a_command_silently(service: Service) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "taskqueue.cli", "tasks", "list"]
    with os.fdopen(write, "wb") as closed:
        ended = subprocess.run(
            command, cwd=service.directory, env=service.environ, stdout=closed, stderr=subprocess.PIPE, timeout=60
        )
    assert ended.stderr == b""


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1", "is it running? start it with: taskqueue dev, or set TASKQUEUE_URL"),
        ("foo", "TASKQUEUE_URL is foo; write it like http://127.0.0.1:8484"),
    ],
)
def test_a_service_that_is_not_there_is_named_with_what_to_do(tmp_path: Path, url: str, sentence: str) -> None:
    failed = run("tasks", "list", cwd=tmp_path, environ=environment(tmp_path, url=url))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert sentence in failed.stderr


def _json(service: Service, *arguments: str) -> Any:
    done = service.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _only(service: Service, *arguments: str) -> Any:
    (item,) = _json(service, *arguments)["items"]
    return item
