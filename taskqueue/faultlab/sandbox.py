"""Where one function runs: a process that is stopped at its limits, as Lambda stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskqueue.faultlab.functions import Function
from taskqueue.faultlab.lambda_said import LambdaAnswer, exited, timed_out
from taskqueue.faultlab.runtime_api import Invocation, RuntimeApi

INIT_SECONDS = 10.0
MEMORY_BYTES = 128 * 2**20  # Lambda's least
_LOOK_SECONDS = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, eq=False)
class _Runtime:
    """A process that runs the function, and the API that it asks for events."""

    process: asyncio.subprocess.Process
    api: RuntimeApi
    ended: asyncio.Task[int]

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended
        await self.api.close()


class Sandbox:
    """One function. It runs one event at a time; others wait, as with a concurrency of one."""

    def __init__(self, name: str, function: Function, *, seconds: float) -> None:
        self._name, self._function, self._seconds = name, function, seconds
        self._turn = asyncio.Lock()
        self._runtime: _Runtime | None = None

    async def invoke(self, event: bytes, context: str | None) -> LambdaAnswer:
        """What Lambda would answer for ``event``; the process stays for the next one if it can."""
        async with self._turn:
            if self._runtime is None or self._runtime.ended.done():
                await self.close()
                self._runtime = await self._start()
            runtime = self._runtime
            invocation = Invocation(event or b"{}", self._name, self._seconds, context)
            runtime.api.hand_over(invocation)
            answer, usable = await self._watch(runtime, invocation)
            if not usable:
                await self.close()
            return answer

    async def close(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.close()

    async def _start(self) -> _Runtime:
        api = RuntimeApi()
        environment = {
            "AWS_LAMBDA_RUNTIME_API": await api.start(),
            "AWS_LAMBDA_FUNCTION_NAME": self._name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_BYTES // 2**20),
        }
        # As in Lambda, what a function prints is not its answer; what somebody's own prints, they want to see.
        printed = subprocess.DEVNULL if self._function.cls else sys.stderr.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "awslambdaric", self._function.handler),
            cwd=self._function.code,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
        )
        return _Runtime(process, api, asyncio.create_task(process.wait()))

    async def _watch(self, runtime: _Runtime, invocation: Invocation) -> tuple[LambdaAnswer, bool]:
        """The answer, and whether the process may take another event."""
        began = time.monotonic()
        process, said = runtime.process, invocation.said
        while True:
            news: set[asyncio.Future[Any]] = {said, runtime.ended}
            await asyncio.wait(news, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if said.done():
                # One that failed before it asked for the event is about to exit.
                return said.result(), invocation.taken_at is not None and not invocation.broken
            if runtime.ended.done():
                return exited(process.returncode or 0, invocation.request_id), False
            if resident_bytes(process.pid) > MEMORY_BYTES:
                return exited(-signal.SIGKILL, invocation.request_id), False
            since, limit = (
                (began, INIT_SECONDS) if invocation.taken_at is None else (invocation.taken_at, self._seconds)
            )
            if time.monotonic() - since > limit:
                return timed_out(limit, invocation.request_id), False


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        pass
    command = ["/bin/ps", "-o", "rss=", "-p", str(pid)]  # where there is no /proc
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(asked.stdout.strip() or 0) * 1024
