"""Real processes of the command line: started, waited for, and never left behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

PATIENCE = 45.0  # seconds, for what must happen; a process may take its time to start


def environment(directory: Path, **variables: object) -> dict[str, str]:
    """An environment in which only ``variables`` (named without the prefix) are set; ``directory`` stands for home."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TASKQUEUE_")}
    return {
        **clean,
        "HOME": str(directory),
        "PYTHONPATH": "",
        **{f"TASKQUEUE_{name.upper()}": str(value) for name, value in variables.items()},
    }


def run(
    *arguments: str, cwd: Path, environ: Mapping[str, str], program: Path | None = None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command of taskqueue to its end."""
    return subprocess.run(
        [*_command(program), *arguments],
        cwd=cwd,
        env=dict(environ),
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        timeout=100,
    )


class Running:
    """A command that goes on until it is told to stop; what it prints is kept in a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def wait_for_output(self, text: str) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None, what=f"{text!r} in the output")
        assert text in self.output, self.output


@contextmanager
def running(*arguments: str, cwd: Path, environ: Mapping[str, str], program: Path | None = None) -> Iterator[Running]:
    """A command that runs meanwhile; at the end it is stopped, with all that it started."""
    log = cwd / f"{Path(arguments[0]).name}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_command(program), *arguments],
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(process, log)
    except BaseException:
        print(f"--- output of {' '.join(arguments)}", log.read_text(errors="replace"), sep="\n")
        raise
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()  # its children hold on to it by their standard input, and go too
            process.wait()


def free_port() -> int:
    """A port for a process that is yet to start: none of those that the system gives to connections meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def ready(port: int) -> bool:
    """True once the API on ``port`` can serve."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return int(answer.status) == 200
    except (URLError, OSError):
        return False


def alive(pid: int) -> bool:
    """True while a process of this number runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started and that run now."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(holds: Callable[[], bool], *, seconds: float = PATIENCE, what: str = "it") -> None:
    """Look again and again until ``holds()``; fail after ``seconds``."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what} in vain"
        time.sleep(0.02)


def _command(program: Path | None) -> list[str]:
    return [str(program)] if program else [sys.executable, "-m", "taskqueue.cli"]
