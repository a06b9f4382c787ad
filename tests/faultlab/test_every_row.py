"""From outside: a task for every row of the tables of outcome classes ends as its row says, on both databases."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_outcome_table import ANSWERED, CUT_OFF, LAMBDA, NEVER_REACHED, Row
from tests.faultlab.running import RunningLab
from tests.faultlab.service import FORBIDDEN, LabService, serving
from tests.support.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

RETRIES = 4  # more than any class has of its own
AT_ONCE = {"type": "fixed", "initial": "50ms", "jitter": "none"}
# Those have tests of their own below; for `dns_failure` and `released` no target can be found.
APART = {"dns_failure", "local_resource", "released", "worker_lost", "interrupted", "cancelled"}
ROWS = [row for row in (*NEVER_REACHED, *CUT_OFF, *ANSWERED, *LAMBDA) if row.name not in APART]
DEFERRED = ("throttled", "unavailable")
SLACK = 10.0  # seconds from being due to being claimed, on a slow machine


def task_for(row: Row, lab: RunningLab) -> dict[str, Any]:
    """What to submit to see ``row``."""
    addresses = {**lab.index["addresses"], "target_forbidden": FORBIDDEN}
    url = addresses.get(row.name, f"{lab.url}/class/{row.name}")
    if row in LAMBDA:
        url = f"lambda://{row.name}"
    late = row.name in ("timeout", "connect_timeout", "tls_timeout")
    return {
        "targetUrl": url,
        "payload": {"row": row.name, "bulk": "x" * 200_000 if row.name == "send_aborted" else ""},
        "timeout": 1 if late else 30,
        "retries": RETRIES,
    }


def test_every_row_ends_as_the_table_says(database_url: str, tmp_path: Path, lab: RunningLab) -> None:
    with serving(database_url, tmp_path, lab) as service:
        ids = {row: service.accept(**task_for(row, lab), backoff=AT_ONCE) for row in ROWS}
        for row, task_id in ids.items():
            if row.charge == "free":
                service.wait(task_id, lambda task: task["attempt"] > RETRIES + 2)
                check_attempts(row, service.attempts(task_id))
            else:
                check_death(row, service.ended(task_id), service.attempts(task_id), service)


def test_every_row_waits_as_the_table_says(database_url: str, tmp_path: Path, lab: RunningLab) -> None:
    waiting = [row for row in ROWS if row.wait is not None]
    with serving(database_url, tmp_path, lab) as service:
        ids = {row: service.accept(**task_for(row, lab)) for row in waiting}
        for row, task_id in ids.items():
            assert row.wait is not None
            assert 0 <= waited(service, task_id) <= row.wait[0] + SLACK, row.name


def test_a_named_wait_is_kept_and_a_deferral_is_not_charged(database_url: str, tmp_path: Path, lab: RunningLab) -> None:
    named = [row for row in ROWS if row.retry_after]
    with serving(database_url, tmp_path, lab) as service:
        ids = {row: service.accept(targetUrl=f"{lab.url}/class/{row.name}?retryAfter=40") for row in named}
        for row, task_id in ids.items():
            assert 40 <= waited(service, task_id) <= 44 + SLACK, row.name
            (attempt,) = service.attempts(task_id)
            assert attempt["charged"] == (row.name not in DEFERRED), row.name


def test_attempts_that_the_worker_ended_are_on_record(database_url: str, tmp_path: Path, lab: RunningLab) -> None:
    with serving(database_url, tmp_path, lab) as service:
        lost = service.accept(targetUrl=f"{lab.url}/class/worker_lost?times=1")
        given_up = service.accept(targetUrl=f"{lab.url}/class/worker_lost", onLost="dead")
        cancelled = service.accept(targetUrl=f"{lab.url}/class/cancelled")
        for task_id in (lost, given_up, cancelled):
            service.wait(task_id, lambda task: task["status"] == "running")
        assert service.call("POST", f"/v1/tasks/{cancelled}/cancel")[0] == 200
        service.worker.kill()
        service.worker.start()
        assert service.ended(lost)["status"] == "succeeded"
        assert service.ended(given_up)["deadReason"] == "lost"
        for task_id, name in ((lost, "worker_lost"), (given_up, "worker_lost"), (cancelled, "cancelled")):
            first, *_ = service.attempts(task_id)
            assert (first["class"], first["partialWork"]) == (name, "possible")
        interrupted = service.accept(targetUrl=f"{lab.url}/class/interrupted?times=1")
        service.wait(interrupted, lambda task: task["status"] == "running")
        wait_for_hit(lab, interrupted)
        assert service.worker.terminate() == 0
        service.worker.start()
        assert service.ended(interrupted)["status"] == "succeeded"
        first, second = service.attempts(interrupted)
        assert (first["class"], first["partialWork"], first["charged"]) == ("interrupted", "possible", False)
        assert second["class"] == "success"


def check_death(row: Row, task: Any, attempts: list[Any], service: LabService) -> None:
    retries = min(row.retries, RETRIES)
    assert task["status"] == "dead", row.name
    assert task["deadReason"] == ("exhausted" if retries else "rejected"), row.name
    assert len(attempts) == 1 + retries, row.name
    check_attempts(row, attempts)
    letter = service.get(f"/v1/dead-letters/{task['deadLetterId']}")
    assert (letter["class"], letter["partialWork"]) == (row.name, row.partial.label)
    assert task["error"]["class"] == row.name
    assert task["error"]["retryable"] == (row.retries > 0)


def check_attempts(row: Row, attempts: list[Any]) -> None:
    for each in attempts:
        assert each["class"] == row.name, each
        assert each["partialWork"] == row.partial.label, each
        assert each["charged"] == (row.charge == "yes"), each
        assert each["compensation"] == (row.compensation in ("yes", "check")), each
        assert each["errorType"] and each["errorMessage"], each


def waited(service: LabService, task_id: str) -> float:
    """Seconds from the end of the first attempt to the start of the second, be it past or to come."""
    task = service.wait(task_id, lambda task: task["attempt"] > 1 or (task["nextAttemptAt"] and task["attempt"] == 1))
    first, *more = service.attempts(task_id)
    then = more[0]["startedAt"] if more else task["nextAttemptAt"] or service.task(task_id)["startedAt"]
    return (datetime.fromisoformat(then) - datetime.fromisoformat(first["finishedAt"])).total_seconds()


def wait_for_hit(lab: RunningLab, task_id: str) -> None:
    wait_until(lambda: bool(lab.seen(f"?task={task_id}")), what="the request")
