"""The fault lab as a whole: its ports, its functions, its memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from taskqueue.faultlab.doors import Doors
from taskqueue.faultlab.functions import Function, functions
from taskqueue.faultlab.invoke import Invoke
from taskqueue.faultlab.lambda_said import BY_CLASS, EXCEPTIONS
from taskqueue.faultlab.options import NAMES
from taskqueue.faultlab.plays import PLAYS, UNPLAYED
from taskqueue.faultlab.seen import Seen
from taskqueue.faultlab.server import STATES, Server
from taskqueue.faultlab.sigv4 import Account
from taskqueue.faultlab.wire import MAX_HEAD


class FaultLab:
    """Listens from ``open`` to ``close``, on the running event loop."""

    def __init__(
        self, host: str, port: int, *, secret: str | None, own: Mapping[str, Function], function_seconds: float
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="faultlab-")
        self._functions = {**functions(Path(self._directory.name)), **own}
        self._account = Account()
        self._invoke = Invoke(self._account, self._functions, seconds=function_seconds)
        self._addresses: dict[str, str] = {}
        self._server = Server(Seen(secret), self._invoke, self.index, self._addresses)
        self._host, self._doors = host, Doors(host, port, Path(self._directory.name) / "ca.pem")

    @property
    def url(self) -> str:
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{shown}:{self._doors.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What API and worker must be started with to invoke the lab's functions."""
        return {
            "TASKQUEUE_LAMBDA_ENDPOINT": self.url,
            "TASKQUEUE_LAMBDA_REGION": self._account.region,
            "AWS_ACCESS_KEY_ID": self._account.access_key,
            "AWS_SECRET_ACCESS_KEY": self._account.secret_key,
        }

    async def open(self) -> None:
        """Raises ``OSError`` when a port is taken."""
        serve = self._server.serve
        self._addresses.update(await self._doors.open(serve, narrow=partial(serve, narrow=True), limit=MAX_HEAD))

    async def close(self) -> None:
        await self._doors.close()
        await self._server.close()
        await self._invoke.close()
        self._directory.cleanup()

    def index(self) -> dict[str, Any]:
        """Everything that can be asked for."""
        return {
            "plays": {
                name: {
                    "class": play.cls,
                    "about": play.about,
                    "url": self._addresses.get(name, f"{self.url}/class/{name}"),
                }
                for name, play in PLAYS.items()
            },
            "options": dict(NAMES),
            "addresses": dict(self._addresses),
            "authority": str(self._doors.authority),
            "unplayed": dict(UNPLAYED),
            "functions": {f"lambda://{name}": each.cls for name, each in self._functions.items()},
            "answersOfLambda": [f"lambda://{name}" for name in (*BY_CLASS, *EXCEPTIONS)],
            "reconcile": [f"{self.url}/reconcile?state={state}" for state in STATES],
            "webhook": f"{self.url}/webhook",
            "seen": f"{self.url}/seen",
            "environment": self.environment,
        }
