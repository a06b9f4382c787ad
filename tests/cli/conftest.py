"""A service for the commands that speak HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.processes import environment, free_port, ready, run, running, wait_until


@dataclass(frozen=True, slots=True)
class Service:
    """`taskqueue dev`, and commands that are sent to it."""

    url: str
    directory: Path
    environ: dict[str, str]

    def command(self, *arguments: str, text: str | None = None) -> CompletedProcess[str]:
        return run(*arguments, cwd=self.directory, environ=self.environ, text=text)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory, port = tmp_path_factory.mktemp("service"), free_port()
    environ = environment(directory, url=f"http://127.0.0.1:{port}")
    with running("dev", "--port", str(port), cwd=directory, environ=environ):
        wait_until(lambda: ready(port), what="the API")
        yield Service(f"http://127.0.0.1:{port}", directory, environ)
