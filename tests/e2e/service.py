"""The whole service as processes: an API and workers that may be killed, and a sink that is not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar

from tests.support.processes import PATIENCE, environment, free_port, ready, wait_until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
# As quick as the settings allow: what a dead worker held must run again within the test.
QUICK = {
    "allowed_targets": "127.0.0.1",
    "signing_secret": SECRET,
    "lease_seconds": 2,
    "extend_seconds": 0.4,
    "fence_margin_seconds": 0.7,
    "reclaim_seconds": 0.4,
    "lost_limit": 100,
    "grace_seconds": 5,
}


@dataclass(frozen=True)
class Hit:
    """One request that reached the sink."""

    at: float  # the wall clock
    path: str
    headers: Mapping[str, str]  # lower case
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)


class Sink:
    """The target and the webhook receiver; its record outlives whoever called."""

    def __init__(self, directory: Path) -> None:
        self._record = directory / "sink.jsonl"
        self._record.touch()
        command = [sys.executable, str(Path(__file__).with_name("sink.py")), str(self._record)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def hits(self, path: str) -> list[Hit]:
        lines = self._record.read_text().splitlines()
        hits = [Hit(**{**line, "body": base64.b64decode(line["body"])}) for line in map(json.loads, lines)]
        return [hit for hit in hits if hit.path == path]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Role:
    """One command of the service, which may be killed and started again."""

    def __init__(self, name: str, directory: Path, environ: Mapping[str, str]) -> None:
        self.name, self._directory, self._environ = name, directory, environ
        self._log = (directory / f"{name}.log").open("ab")
        self.start()

    @property
    def said(self) -> str:
        """What it has printed since its last start."""
        return Path(self._log.name).read_bytes()[self._began :].decode(errors="replace")

    def start(self) -> None:
        self._began = Path(self._log.name).stat().st_size
        self._process = subprocess.Popen(
            [sys.executable, "-m", "taskqueue.cli", self.name.partition("-")[0]],
            cwd=self._directory,
            env=dict(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """As a power cut to this process: SIGKILL."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        """As an operator does: SIGTERM; the exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        self.kill()
        self._log.close()


class Service:
    """An API and its workers on one database."""

    def __init__(self, database_url: str, directory: Path, *, workers: int) -> None:
        self.port = free_port()
        environ = environment(directory, database_url=database_url, port=self.port, **QUICK)
        self.roles = [Role(name, directory, environ) for name in ("api", *(f"worker-{n}" for n in range(workers)))]
        wait_until(lambda: ready(self.port), what="the API")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self, role: Role) -> bool:
        """True once ``role`` does its work after its last start."""
        return ready(self.port) if role.name == "api" else "worker.started" in role.said

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and body of one answer; ``OSError`` or ``HTTPException`` where none came."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, content, {"Content-Type": "application/json", **named})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, body = self.call("GET", path)
        assert status == 200, body
        return body

    def submit(self, task: Any, *, key: str) -> Any:
        """The accepted task: asked for again and again under the same key until somebody says 202."""
        accepted: list[Any] = []

        def taken() -> bool:
            try:
                status, body = self.call("POST", "/v1/tasks", task, Idempotency_Key=key)
            except (OSError, HTTPException):
                return False
            assert status in (202, 503), body
            if status == 202:
                accepted.append(body)
            return status == 202

        wait_until(taken, what="a 202")
        return accepted[0]

    def tasks(self) -> dict[str, Any]:
        """Every task there is, by id."""
        found: dict[str, Any] = {}
        cursor = ""
        while True:
            page = self.get(f"/v1/tasks?limit=200{cursor}")
            found |= {task["id"]: task for task in page["items"]}
            if page["nextCursor"] is None:
                return found
            cursor = f"&cursor={page['nextCursor']}"

    def close(self) -> None:
        for role in self.roles:
            role.close()


S = TypeVar("S", bound=Service)


@contextmanager
def serving(database_url: str, directory: Path, *, workers: int = 1) -> Iterator[Service]:
    with watched(Service(database_url, directory, workers=workers), directory) as service:
        yield service


@contextmanager
def watched(service: S, directory: Path) -> Iterator[S]:
    """A service that is closed at the end; if that comes too soon, what its processes said is printed."""
    try:
        yield service
    except BaseException:
        for log in sorted(directory.glob("*.log")):
            print(f"--- {log.name}", log.read_text(errors="replace")[-4000:], sep="\n")
        raise
    finally:
        service.close()
