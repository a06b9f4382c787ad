"""A Lambda Runtime API on loopback: hands events to AWS's own runtime client and takes what the handler says."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

_API = "/2018-06-01/runtime"
_ARN = "arn:aws:lambda:eu-west-1:000000000000:function:example"
_COLD_START = 60.0  # seconds, on top of the handler's time


class FunctionFailed(Exception):
    """The handler raised or could not be loaded; ``report`` is what the runtime told of it."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(f"{report.get('errorType')}: {report.get('errorMessage')}")
        self.report = report


@dataclass(slots=True)
class _Invocation:
    request_id: str
    event: Any
    limit: float
    answers: queue.SimpleQueue[tuple[str, Any]] = field(default_factory=queue.SimpleQueue)


class LambdaRuntime(ThreadingHTTPServer):
    """The Runtime API of one function; ``invoke`` stands for whoever calls the function."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.waiting: queue.SimpleQueue[_Invocation | None] = queue.SimpleQueue()
        self.running: dict[str, _Invocation] = {}
        self.init_error: Any = None
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """What ``AWS_LAMBDA_RUNTIME_API`` must be."""
        return f"127.0.0.1:{self.server_port}"

    def invoke(self, event: Any, *, limit: float = 10.0, request_id: str | None = None) -> Any:
        """What the handler returns for ``event`` within ``limit`` seconds; ``request_id`` repeats an earlier event."""
        invocation = _Invocation(request_id or str(uuid.uuid4()), event, limit)
        self.waiting.put(invocation)
        self.tell_init_error()
        try:
            kind, said = invocation.answers.get(timeout=limit + _COLD_START)
        except queue.Empty:
            raise FunctionFailed({"errorType": "Sandbox.Timedout", "errorMessage": f"no answer in {limit} s"}) from None
        if kind == "error":
            raise FunctionFailed(said)
        return said

    def tell_init_error(self) -> None:
        """Fail what waits for a function that could not be loaded."""
        while self.init_error is not None and not self.waiting.empty():
            if invocation := self.waiting.get():
                invocation.answers.put(("error", self.init_error))

    def close(self) -> None:
        self.waiting.put(None)
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _runtime(self) -> LambdaRuntime:
        return cast(LambdaRuntime, self.server)

    def do_GET(self) -> None:
        if self.path != f"{_API}/invocation/next":
            self._answer(404, {})
        elif invocation := self._runtime.waiting.get():
            self._runtime.running[invocation.request_id] = invocation
            headers = {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + invocation.limit) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": _ARN,
            }
            self._answer(200, invocation.event, headers)

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *_, request_id, kind = self.path.split("/")
        if self.path == f"{_API}/init/error":
            self._runtime.init_error = said
            self._runtime.tell_init_error()
        elif (invocation := self._runtime.running.pop(request_id, None)) and kind in ("response", "error"):
            invocation.answers.put((kind, said))
        else:
            self._answer(404, {})
            return
        self._answer(202, {"status": "OK"})

    def _answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests look at what happened."""


@contextmanager
def function(handler: str, *, code: Path, layer: Path, environment: Mapping[str, str]) -> Iterator[LambdaRuntime]:
    """A function: AWS's runtime client runs ``handler`` of the directory ``code``, with an unpacked ``layer``."""
    runtime = LambdaRuntime()
    settings = {"AWS_LAMBDA_RUNTIME_API": runtime.address, "PYTHONPATH": str(layer / "python")}
    command = [sys.executable, "-m", "awslambdaric", handler]
    process = subprocess.Popen(command, cwd=code, env=os.environ | environment | settings)
    try:
        yield runtime
    finally:
        process.kill()
        process.wait()
        runtime.close()
