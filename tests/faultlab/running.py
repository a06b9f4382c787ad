"""A fault lab that runs beside the test, on an event loop of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from taskqueue.faultlab.functions import Function
from taskqueue.faultlab.lab import FaultLab
from tests.e2e.service import SECRET


@dataclass(frozen=True)
class RunningLab:
    """The lab as its users see it: over the wire."""

    port: int
    index: Mapping[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.index["environment"])

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def seen(self, query: str = "") -> list[Any]:
        status, _, body = self.call("GET", f"/seen{query}")
        assert status == 200
        return list(json.loads(body)["items"])

    def forget(self) -> None:
        assert self.call("DELETE", "/seen")[0] == 204


@contextmanager
def running_lab(
    *, secret: str | None = SECRET, own: Mapping[str, Function] | None = None, function_seconds: float = 1.0
) -> Iterator[RunningLab]:
    """A lab on ports of its own, until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="faultlab")
    thread.start()
    lab = FaultLab("127.0.0.1", 0, secret=secret, own=own or {}, function_seconds=function_seconds)
    try:
        asyncio.run_coroutine_threadsafe(lab.open(), loop).result(20)
        yield RunningLab(int(lab.url.rpartition(":")[2]), lab.index())
    finally:
        asyncio.run_coroutine_threadsafe(_close(lab), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(lab: FaultLab) -> None:
    await lab.close()
    await asyncio.sleep(0.05)  # for transports to see their sockets closed
