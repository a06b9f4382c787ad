"""Child processes: started, restarted when they die, drained when it is time to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType

import click

_LOOK_SECONDS = 0.1
_SETTLED_SECONDS = 10.0  # a child that lived this long had started well
_LONGEST_PAUSE = 30.0
_MARGIN_SECONDS = 5.0  # beyond its grace, a child that hangs is killed


class Child:
    """One command of this program as a process of its own, restarted under the same name."""

    def __init__(self, name: str, arguments: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self.name, self._arguments, self._environ = name, arguments, environ
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._deaths = 0

    def start(self) -> None:
        self._started_at = time.monotonic()
        # A process group of its own, so that Ctrl-C reaches it through the supervisor alone, and only once.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "taskqueue.cli", *self._arguments, "--lifeline"],
            env=dict(self._environ),
            stdin=subprocess.PIPE,
            process_group=0,
        )

    def restart_if_dead(self) -> int | None:
        """Start it again once it is time to; the exit code of a death that was not yet reported, else ``None``."""
        if self._process is None:
            if time.monotonic() >= self._restart_at:
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        lived = time.monotonic() - self._started_at
        self._deaths = 1 if lived > _SETTLED_SECONDS else self._deaths + 1
        self._restart_at = time.monotonic() + self.pause
        self._forget()
        return code

    @property
    def pause(self) -> float:
        """Seconds between the last death and the next start; longer each time it dies young."""
        return min(_LONGEST_PAUSE, 0.25 * 2.0**self._deaths)

    @property
    def hopeless(self) -> bool:
        """True when its very first start failed: it has said why, and trying again would only say it again."""
        return self._deaths == 1 and self._restart_at - self.pause - self._started_at < _SETTLED_SECONDS

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process = None


class Supervisor:
    """Keeps its children running until SIGINT or SIGTERM; the first drains them, the second ends them at once."""

    def __init__(self, *, grace: float) -> None:
        self._children: list[Child] = []
        self._grace = grace
        self._signals = 0
        self._stop = threading.Event()

    def add(self, child: Child) -> None:
        self._children.append(child)

    def run(self, started: Callable[[], bool] = lambda: True) -> int:
        """Block until it is over; return the exit code. ``started`` is asked again and again until it is True."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._noted)
        code, waiting = 0, True
        try:
            for child in self._children:
                child.start()
            while not self._stop.is_set() and not (code := self._tended()):
                waiting = waiting and not started()
                self._stop.wait(_LOOK_SECONDS)
        finally:
            self._drain()
        return code

    def _tended(self) -> int:
        """Look after each child; the exit code to end with if one cannot be started at all, else 0."""
        for child in self._children:
            code = child.restart_if_dead()
            if code is None:
                continue
            if code == 1 and child.hopeless:
                return 1
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            click.secho(f"{child.name} {how}; starting it again in {child.pause:g} s", fg="yellow", err=True)
        return 0

    def _noted(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._stop.set()

    def _drain(self) -> None:
        deadline = time.monotonic() + self._grace + _MARGIN_SECONDS
        passed_on = 0
        while any(child.alive for child in self._children):
            if passed_on < max(1, min(self._signals, 2)):
                passed_on += 1
                self._tell(signal.SIGTERM)
            if time.monotonic() > deadline:
                self._tell(signal.SIGKILL)
            time.sleep(_LOOK_SECONDS / 2)
        for child in self._children:
            child.close()

    def _tell(self, number: int) -> None:
        for child in self._children:
            child.signal(number)
