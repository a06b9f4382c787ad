"""Every 202 keeps its word while the API and the workers are killed again and again.

``TASKQUEUE_E2E_TASKS`` and ``TASKQUEUE_E2E_SECONDS`` make it longer. Nothing here believes the service's own counters
where the sink can be asked.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.e2e.service import SECRET, Hit, Service, Sink, serving
from tests.support.processes import ready, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
TASKS = int(os.environ.get("TASKQUEUE_E2E_TASKS", "200"))
SECONDS = float(os.environ.get("TASKQUEUE_E2E_SECONDS", "10"))
SEED = int(os.environ.get("TASKQUEUE_E2E_SEED", "1"))


@dataclass(frozen=True)
class Ending:
    """How the sink treats a task, and how the task must end."""

    status: str
    reason: str | None = None
    cls: str | None = None
    retries: int = 1


ENDINGS = {
    "succeed": Ending("succeeded"),
    "fail_twice": Ending("succeeded", retries=3),
    "fail": Ending("dead", "exhausted", "server_error"),
    "reject": Ending("dead", "rejected", "bad_request"),
    "hang": Ending("dead", "exhausted", "timeout"),
    "drip": Ending("dead", "exhausted", "timeout"),
    "reset": Ending("dead", "exhausted", "no_response"),
    "function_error": Ending("dead", "exhausted", "function_error"),
}


class Killer:
    """Kills the API or a worker every second or two, and starts it again; one that is not up yet is spared."""

    def __init__(self, service: Service) -> None:
        self.kills: Counter[str] = Counter()
        self._service, self._stopped = service, threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        dice = random.Random(SEED)
        while not self._stopped.wait(dice.uniform(0.7, 1.8)):
            role = dice.choice(self._service.roles)
            if self._service.up(role):
                role.kill()
                self.kills[role.name.partition("-")[0]] += 1
                role.start()


def submission(number: int, sink: Sink) -> dict[str, Any]:
    name = list(ENDINGS)[number % len(ENDINGS)]
    return {
        "targetUrl": f"{sink.url}/work",
        "payload": {"n": number, "ending": name},
        "webhookUrl": f"{sink.url}/hook",
        "retries": ENDINGS[name].retries,
        "timeout": 1,
        "backoff": {"type": "fixed", "initial": "200ms", "jitter": "none"},
    }


def submit_all(service: Service, sink: Sink) -> dict[str, str]:
    """Submit in step with the kills; the ending of each acknowledged task by its id."""

    def submit(number: int) -> tuple[str, str]:
        time.sleep(max(0.0, began + SECONDS * number / TASKS - time.monotonic()))
        task = submission(number, sink)
        return service.submit(task, key=f"key-{number}")["id"], task["payload"]["ending"]

    began = time.monotonic()
    with ThreadPoolExecutor(8) as submitters:
        return dict(submitters.map(submit, range(TASKS)))


def test_every_202_keeps_its_word_while_everything_is_killed(database_url: str, tmp_path: Path, sink: Sink) -> None:
    with serving(database_url, tmp_path, workers=2) as service:
        killer = Killer(service)
        try:
            acknowledged = submit_all(service, sink)
            # Where processes take long to start, the last task may be in before each of them was up and killed.
            wait_until(lambda: killer.kills.keys() == {"api", "worker"}, what="a kill of each")
        finally:
            killer.stop()
        wait_until(lambda: ready(service.port), what="the API")
        wait_until(
            lambda: all(task["finishedAt"] for task in service.tasks().values()), seconds=120, what="the last task"
        )
        wait_until(lambda: acknowledged.keys() <= told(sink), what="the last webhook")
        tasks = service.tasks()
        attempts = {task_id: service.get(f"/v1/tasks/{task_id}/attempts")["items"] for task_id in acknowledged}
        # Drained in the end, so that what is on record cannot change any more.
        assert {role.name: role.terminate() for role in service.roles} == dict.fromkeys(
            ("api", "worker-0", "worker-1"), 0
        )
    print(f"kills: {dict(killer.kills)}, attempts lost with their worker: {len(lost(attempts))}")
    assert len(acknowledged) == TASKS
    assert tasks.keys() == acknowledged.keys(), "a task too many, or too few"
    for task_id, name in acknowledged.items():
        check_ending(tasks[task_id], ENDINGS[name])
        check_attempts(attempts[task_id], ENDINGS[name])
    check_hits(sink.hits("/work"), attempts)
    check_webhooks(sink.hits("/hook"), tasks)


def told(sink: Sink) -> set[str]:
    return {hit.json["data"]["id"] for hit in sink.hits("/hook")}


def lost(attempts: dict[str, Any]) -> list[Any]:
    return [each for of_task in attempts.values() for each in of_task if each["class"] == "worker_lost"]


def check_ending(task: Any, ending: Ending) -> None:
    assert (task["status"], task["deadReason"]) == (ending.status, ending.reason), task
    if ending.cls is not None:
        assert task["error"]["class"] == ending.cls, task


def check_attempts(attempts: list[Any], ending: Ending) -> None:
    """Numbered without a gap, never charged beyond the budget, and ended once."""
    assert [each["number"] for each in attempts] == list(range(1, len(attempts) + 1))
    assert len({each["id"] for each in attempts}) == len(attempts)
    assert sum(each["charged"] for each in attempts) <= 1 + ending.retries
    assert [each["class"] for each in attempts].count("success") == (ending.status == "succeeded")
    expected = "success" if ending.status == "succeeded" else ending.cls
    assert attempts[-1]["class"] == expected


def check_hits(hits: list[Hit], attempts: dict[str, Any]) -> None:
    """Every request on the wire is an attempt on record and was sent once; what was answered had been sent."""
    on_wire = Counter(hit.headers["taskqueue-attempt-id"] for hit in hits)
    assert [attempt_id for attempt_id, count in on_wire.items() if count > 1] == []
    on_record = {each["id"]: each for of_task in attempts.values() for each in of_task}
    assert on_wire.keys() <= on_record.keys()
    unsent = {id_: each["class"] for id_, each in on_record.items() if id_ not in on_wire}
    assert set(unsent.values()) <= {"worker_lost", "connect_refused"}, unsent
    for hit in hits:
        task_id = hit.headers["taskqueue-task-id"]
        assert hit.headers["taskqueue-attempt-id"] in {each["id"] for each in attempts[task_id]}
        assert hit.headers["idempotency-key"] == task_id


def check_webhooks(hits: list[Hit], tasks: dict[str, Any]) -> None:
    """One webhook per ended task: it may come twice, under one id and with the same bytes."""
    told: defaultdict[str, set[tuple[str, bytes]]] = defaultdict(set)
    for hit in hits:
        event = Webhook(SECRET).verify(hit.body, dict(hit.headers))
        told[event["data"]["id"]].add((hit.headers["webhook-id"], hit.body))
        assert event["type"] == f"task.{tasks[event['data']['id']]['status']}"
    assert told.keys() == tasks.keys()
    assert {task_id: len(webhooks) for task_id, webhooks in told.items() if len(webhooks) > 1} == {}
