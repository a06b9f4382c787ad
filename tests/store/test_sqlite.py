"""What only SQLite needs: turns for every writer of every process, and a clock that never runs backwards."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import timedelta
from itertools import pairwise

from sqlalchemy import text

from taskqueue.store.database import Database
from taskqueue.store.sqlite import SteadyClock
from tests.store.threads import at_once, results
from tests.support.builders import submit_one

WRITE = """
import sys, time
from sqlalchemy import text
from taskqueue.store.database import Database
database = Database.open(sys.argv[1])
waits = []
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + 1.5
while time.monotonic() < until:
    asked = time.monotonic()
    with database.begin() as conn:
        waits.append(time.monotonic() - asked)
        conn.execute(text("update ready set priority = priority"))
        time.sleep(0.001)
print(" ".join(f"{wait:.6f}" for wait in waits))
"""
HOUR = 3600 * 10**9


def test_processes_that_write_all_the_time_all_get_their_turn(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    submit_one(database)
    database.close()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, sqlite_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    outputs = [writer.communicate("go\n")[0] for writer in writers]
    waits = [sorted(float(wait) for wait in output.split()) for output in outputs]
    fewer, more = sorted(len(each) for each in waits)
    assert fewer > more / 4
    for each in waits:
        # SQLite's own way to wait took seconds here; on an idle machine this one takes a few milliseconds.
        assert each[int(len(each) * 0.99)] < 1, each[-10:]


def test_threads_that_write_all_the_time_all_get_their_turn(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    submit_one(database)
    stop = threading.Event()

    def write() -> int:
        turns = 0
        while not stop.is_set():
            with database.begin() as conn:
                conn.execute(text("update ready set priority = priority"))
            turns += 1
        return turns

    threading.Timer(1.0, stop.set).start()
    turns = sorted(results(at_once([write] * 6)))
    assert turns[0] > turns[-1] / 4
    database.close()


def test_a_long_look_holds_up_no_writer(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    submit_one(database)
    with database.read() as conn:
        conn.execute(text("select * from tasks")).all()
        submit_one(database)  # it would be given up, were it to wait for the look
    database.close()


def test_a_clock_that_is_set_back_goes_on_at_its_own_pace() -> None:
    wall, steady = [HOUR], [0]
    clock = SteadyClock(wall=lambda: wall[0], steady=lambda: steady[0])
    seen = [clock.micros()]
    for back in (1, 0, -1):
        wall[0], steady[0] = HOUR - back * HOUR // 2 + 10**9, steady[0] + 10**9
        seen.append(clock.micros())
    assert all(earlier < later for earlier, later in pairwise(seen))
    # A second each while it was back, and then towards the wall's own time at twice the pace.
    assert seen == [HOUR // 1000 + seconds * 10**6 for seconds in (0, 1, 2, 4)]


def test_a_clock_that_is_set_ahead_catches_up_at_twice_its_pace() -> None:
    wall, steady = [HOUR], [0]
    clock = SteadyClock(wall=lambda: wall[0], steady=lambda: steady[0])
    clock.micros()
    wall[0] += 10 * 10**9
    assert clock.micros() == HOUR // 1000, "no lease lapses because of the step itself"
    seen = []
    for _ in range(12):
        wall[0], steady[0] = wall[0] + 10**9, steady[0] + 10**9
        seen.append(clock.micros() - HOUR // 1000)
    assert seen == [seconds * 10**6 for seconds in (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21, 22)]


def test_threads_see_one_clock_that_never_goes_back() -> None:
    clock = SteadyClock()

    def look() -> list[int]:
        return [clock.micros() for _ in range(2000)]

    for seen in results(at_once([look] * 4)):
        assert seen == sorted(seen)


def test_a_database_that_is_busy_for_too_long_is_given_up_within_its_wait(sqlite_url: str) -> None:
    database, holder = Database.open(sqlite_url, wait=timedelta(seconds=0.3)), Database.open(sqlite_url)
    with holder.begin() as conn:
        conn.execute(text("update ready set priority = priority"))
        waited = []
        for _ in range(2):
            began = time.monotonic()
            answered = at_once([lambda: submit_one(database)])
            waited.append(time.monotonic() - began)
            assert isinstance(answered[0], Exception)
        assert max(waited) < 10
    database.close()
    holder.close()
