"""Hints: heard by other processes after the commit and never before; losing one, or a listener, harms nobody."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from taskqueue.core.task import TaskState
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint, Listener
from tests.store.threads import at_once, results
from tests.support.builders import answer, claim_one, look_up, settle_one, submit_one

LISTEN = """
import sys
from taskqueue.store.database import Database
from taskqueue.store.dialect import Hint
listener = Database.open(sys.argv[1]).listener(Hint(sys.argv[2]))
listener.wait(0.2)
print("listening", flush=True)
print(listener.wait(30), flush=True)
listener.close()
"""
SUBMIT_WITH_FEW_DESCRIPTORS = """
import os, sys
from taskqueue.store.database import Database
from tests.support.builders import submit_one
database = Database.open(sys.argv[1])
submit_one(database)
taken = []
while True:
    try:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        break
for _ in range(int(sys.argv[2])):
    os.close(taken.pop())
submit_one(database)
"""


@contextmanager
def listening(database: Database, *hints: Hint) -> Iterator[Listener]:
    """A listener that is connected."""
    listener = database.listener(*hints)
    listener.wait(0.05)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def elsewhere(database_url: str, hint: Hint) -> Iterator[subprocess.Popen[str]]:
    """Another process that listens for one hint and prints whether it came."""
    command = [sys.executable, "-c", LISTEN, database_url, hint.value]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.kill()


def end_one(database: Database) -> None:
    submit_one(database)
    settle_one(database, claim_one(database), answer(200))


@pytest.mark.parametrize(("hint", "verb"), [(Hint.READY, submit_one), (Hint.ENDED, end_one)])
def test_another_process_hears_what_may_be_claimed_and_what_ended(
    database: Database, database_url: str, hint: Hint, verb: object
) -> None:
    with elsewhere(database_url, hint) as process:
        assert callable(verb)
        verb(database)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"


def test_a_listener_in_the_same_process_hears_too(database: Database) -> None:
    with listening(database, Hint.READY) as one, listening(database, Hint.READY, Hint.ENDED) as two:
        submit_one(database)
        assert one.wait(20)
        assert two.wait(20)


def test_a_listener_hears_only_what_it_asked_for(database: Database) -> None:
    with listening(database, Hint.ENDED) as listener:
        submit_one(database)
        assert not listener.wait(0.2)


def test_silence_lasts_as_long_as_was_asked(database: Database) -> None:
    with listening(database, Hint.READY) as listener:
        began = time.monotonic()
        assert not listener.wait(0.3)
        assert 0.25 < time.monotonic() - began < 15


def test_many_hints_are_one_reason_to_look(database: Database) -> None:
    with listening(database, Hint.READY) as listener:
        for _ in range(20):
            submit_one(database)
        assert listener.wait(20)
        deadline = time.monotonic() + 20
        while listener.wait(0.2) and time.monotonic() < deadline:
            pass
        assert time.monotonic() < deadline


def test_nothing_is_said_before_the_commit_nor_after_a_rollback(database: Database) -> None:
    class Unexpected(Exception):
        pass

    def hint_and_fail() -> None:
        with database.begin() as conn:
            database.hint(conn, Hint.READY)
            raise Unexpected

    with listening(database, Hint.READY) as listener:
        with database.begin() as conn:
            database.hint(conn, Hint.READY)
            assert not listener.wait(0.2)
        assert listener.wait(20)
        with pytest.raises(Unexpected):
            hint_and_fail()
        with database.begin():
            pass
        assert not listener.wait(0.2)


def test_who_is_woken_sees_what_was_committed(database: Database, other: Database) -> None:
    with listening(other, Hint.READY) as listener:
        for _ in range(10):
            task = submit_one(database)
            assert listener.wait(20)
            assert look_up(other, task.id).state is TaskState.QUEUED


def test_a_closed_listener_wakes_its_thread(database: Database) -> None:
    listener = database.listener(Hint.READY)
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(listener.wait(45)))
    thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    listener.close()
    thread.join(60)
    assert woken == [False]
    assert time.monotonic() - began < 20
    assert not listener.wait(0.1)


def test_a_dead_listener_is_cleared_away(database: Database, database_url: str) -> None:
    with elsewhere(database_url, Hint.READY) as process:
        process.kill()
        process.wait()
    submit_one(database)
    if database.dialect_name == "sqlite":
        assert sockets(database_url) == []
    with listening(database, Hint.READY) as listener:
        submit_one(database)
        assert listener.wait(20)


def test_a_closed_listener_leaves_nothing_behind(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    for _ in range(3):
        with listening(database, Hint.READY):
            assert len(sockets(sqlite_url)) == 1
    assert sockets(sqlite_url) == []
    database.close()


def test_a_listener_that_does_not_read_blocks_nobody(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    with listening(database, Hint.READY) as deaf, listening(database, Hint.READY) as awake:
        began = time.monotonic()
        for _ in range(600):  # far more than a socket's queue holds
            with database.begin() as conn:
                database.hint(conn, Hint.READY)
            awake.wait(0.001)
        assert time.monotonic() - began < 60
        assert deaf.wait(1)
    database.close()


def test_a_listener_far_down_a_long_path_is_reached(tmp_path: Path, sqlite_url: str) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100) / "c d%"
    folder.mkdir(parents=True)
    file = Path(sqlite_url.removeprefix("sqlite:///")).rename(folder / "queue.db")
    database = Database.open(f"sqlite:///{file}")
    with listening(database, Hint.READY) as listener:
        submit_one(database)
        assert listener.wait(20)
    database.close()


def test_what_else_lies_in_the_folder_of_listeners_does_no_harm(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    with listening(database, Hint.READY) as listener:
        folder = Path(f"{sqlite_url.removeprefix('sqlite:///')}-listeners")
        (folder / "a-folder").mkdir()
        (folder / "a-dangling-link").symlink_to("nowhere")
        os.mkfifo(folder / "a-pipe")
        submit_one(database)
        assert listener.wait(20)
    database.close()


def test_a_listener_hears_others_while_many_speak(database: Database, other: Database) -> None:
    with listening(database, Hint.READY) as listener:
        results(at_once([partial(submit_one, store) for store in (database, other) * 4]))
        assert listener.wait(20)


@pytest.mark.parametrize("free", ["0", "1", "2"])
def test_a_commit_is_a_commit_even_when_nobody_can_be_told(sqlite_url: str, free: str) -> None:
    database = Database.open(sqlite_url)
    with listening(database, Hint.READY):
        run = subprocess.run(
            [sys.executable, "-c", SUBMIT_WITH_FEW_DESCRIPTORS, sqlite_url, free],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
            capture_output=True,
            text=True,
            check=False,
        )
        # Had the second submit raised, its caller would have sent it again.
        assert run.returncode == 0, run.stderr
    assert {claim_one(database).state for _ in range(2)} == {TaskState.RUNNING}
    database.close()


@pytest.mark.postgres
def test_a_listener_comes_back_when_its_connection_breaks(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    with listening(database, Hint.READY) as listener:
        with psycopg.connect(postgres_url, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'taskqueue-listener'"
                " and datname = current_database()"
            )
        assert listener.wait(20)  # something may have been said meanwhile
        deadline = time.monotonic() + 30
        heard = False
        while not heard and time.monotonic() < deadline:
            listener.wait(0.5)
            submit_one(database)
            heard = listener.wait(0.5)
        assert heard
    database.close()


def test_a_listener_without_a_database_neither_raises_nor_spins() -> None:
    database = Database.open("postgresql://nobody@127.0.0.1:1/none")
    listener = database.listener(Hint.READY)
    looks = 0
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        listener.wait(0.2)
        looks += 1
    assert looks < 15
    listener.close()
    database.close()


def sockets(url: str) -> list[str]:
    return os.listdir(f"{url.removeprefix('sqlite:///')}-listeners")
