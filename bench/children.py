"""Processes that a bench starts: each holds on to its parent's end of a pipe, and ends when that closes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
_END_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


def settings(database_url: str, **more: str) -> dict[str, str]:
    """Variables for a process of the service under measurement; it may call this machine, and is quiet."""
    given = {"database_url": database_url, "allowed_targets": HOST, "log_level": "error", **more}
    return {f"TASKQUEUE_{name.upper()}": value for name, value in given.items()}


@contextmanager
def child(module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """``python -m module arguments``, with no settings but those in ``environ``; its standard input is its lifeline."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TASKQUEUE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**clean, **(environ or {})},
    )
    try:
        yield process
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def told(process: subprocess.Popen[str]) -> str:
    """The next line a child prints."""
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise ChildProcessError(f"{process.args!r} ended without an answer; its error is printed above")
    return line


def tell(process: subprocess.Popen[str], line: str) -> None:
    print(line, file=process.stdin, flush=True)


def end_with_parent() -> None:
    """Called in a child that reads nothing: leave when standard input closes."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock this thread would keep from every fork of this process
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Meter:
    """Processor seconds that processes and their own children spend inside ``with``; ``None`` where no system tells."""

    seconds: float | None = None

    def __init__(self, *processes: subprocess.Popen[str] | int) -> None:
        self._pids = [each if isinstance(each, int) else each.pid for each in processes]

    def __enter__(self) -> Meter:
        self._before = _spent(self._pids)
        return self

    def __exit__(self, *_: object) -> None:
        after = _spent(self._pids)
        if after is not None and self._before is not None:
            self.seconds = after - self._before


def free_port() -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def parent_of(pid: int) -> int | None:
    """The process that started ``pid``; ``None`` where no system tells, as when ``pid`` is on another machine."""
    stat = _stat(Path(f"/proc/{pid}/stat"))
    return stat[1] if stat else None


def _spent(pids: Iterable[int]) -> float | None:
    stats = [_stat(path) for path in Path("/proc").glob("[0-9]*/stat")]
    parents = {pid: (parent, seconds) for pid, parent, seconds in filter(None, stats)}
    family = set(pids)
    for pid in sorted(parents):  # parents come before their children, until the numbers wrap
        if parents[pid][0] in family:
            family.add(pid)
    return sum(parents[pid][1] for pid in family & parents.keys()) if parents else None


def _stat(path: Path) -> tuple[int, int, float] | None:
    try:
        text = path.read_text()
    except OSError:  # it has ended meanwhile
        return None
    fields = text.rpartition(")")[2].split()
    # Its own time and, in the last two, that of children that have ended: connections come and go.
    return int(path.parent.name), int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
