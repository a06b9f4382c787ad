"""The whole service with the lab as its target: an API that accepts a little more than its worker may call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.service import QUICK, Role, Service, watched
from tests.faultlab.running import RunningLab
from tests.support.processes import environment, free_port, ready, wait_until

FORBIDDEN = "http://127.0.0.2:8080/"  # the API takes it, the worker's guard does not
_UNREACHABLE = "127.255.255.255"


class LabService(Service):
    """An API and a worker whose functions are the lab's."""

    def __init__(self, database_url: str, directory: Path, lab: RunningLab, *, keys: bool = True) -> None:
        self.port = free_port()
        settings = QUICK | {"allowed_targets": f"127.0.0.1,{_UNREACHABLE}", "grace_seconds": 0.5, "lost_limit": 3}
        environ = environment(directory, database_url=database_url, port=self.port, **settings)
        environ |= {"AWS_EC2_METADATA_DISABLED": "true"} | lab.environment
        if not keys:
            environ = {
                name: text for name, text in environ.items() if not name.startswith(("AWS_ACCESS", "AWS_SECRET"))
            }
        wider = {"TASKQUEUE_ALLOWED_TARGETS": "127.0.0.0/8"}
        self.roles = [Role("api", directory, environ | wider), Role("worker-0", directory, environ)]
        wait_until(lambda: ready(self.port), what="the API")

    @property
    def worker(self) -> Role:
        return self.roles[1]

    def accept(self, **task: Any) -> str:
        """The id of an accepted task."""
        status, body = self.call("POST", "/v1/tasks", task)
        assert status == 202, body
        return str(body["id"])

    def task(self, task_id: str) -> Any:
        return self.get(f"/v1/tasks/{task_id}")

    def attempts(self, task_id: str) -> list[Any]:
        return list(self.get(f"/v1/tasks/{task_id}/attempts")["items"])

    def wait(self, task_id: str, holds: Callable[[Any], bool], *, seconds: float = 45.0) -> Any:
        """The task once ``holds`` of it."""
        until = time.monotonic() + seconds
        while not holds(task := self.task(task_id)):
            assert time.monotonic() < until, (task, self.attempts(task_id))
            time.sleep(0.05)
        return task

    def ended(self, task_id: str) -> Any:
        return self.wait(task_id, lambda task: task["finishedAt"] is not None)


@contextmanager
def serving(database_url: str, directory: Path, lab: RunningLab, *, keys: bool = True) -> Iterator[LabService]:
    with watched(LabService(database_url, directory, lab, keys=keys), directory) as service:
        yield service
