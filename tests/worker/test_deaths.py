"""Every death is a line in the log, and nothing else at its level is."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskqueue import telemetry
from taskqueue.core.lifecycle import decide
from taskqueue.core.terms import Limits
from taskqueue.store.database import Database
from taskqueue.worker.chores import Chores
from taskqueue.worker.deaths import tell_deaths
from taskqueue.worker.settling import write
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, submit_one
from tests.support.clock import Clock
from tests.support.target import LocalTarget, answer
from tests.worker.conftest import Start
from tests.worker.running import ended, submit_to, until


@pytest.fixture
def warnings(log: io.StringIO) -> io.StringIO:
    """The log from warnings up."""
    telemetry.configure(log_format="json", level="warning", stream=log)
    return log


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_death_is_told_with_its_reason_class_and_attempts(
    database: Database, target: LocalTarget, start: Start, warnings: io.StringIO
) -> None:
    target.then(answer(500), answer(400))
    task = submit_to(database, target.url, retries=1, ordering_key="a")
    done = submit_to(database, target.url, ordering_key="a")
    start()
    ended(database, done, seconds=20)
    (line,) = [line for line in lines(warnings) if line["event"] == "task.dead"]
    assert line == {
        "timestamp": line["timestamp"],
        "level": "warning",
        "event": "task.dead",
        "task_id": str(task.id),
        "queue": "default",
        "reason": "rejected",
        "outcome": "bad_request",
        "attempts": 2,
    }


def test_a_task_that_expires_is_told_too(database: Database, clock: Clock, warnings: io.StringIO) -> None:
    task = submit_one(database, expires_in=timedelta(seconds=10))
    quick, kept = timedelta(seconds=0.1), timedelta(days=14)
    chores = Chores(database, limits=Limits(), reclaim_every=quick, keep_ended=kept, keep_dead=kept)
    try:
        chores.start()
        clock.advance(seconds=11)
        until(lambda: lines(warnings))
    finally:
        chores.thread.stop()
        chores.thread.join(5)
    (line,) = lines(warnings)
    assert (line["task_id"], line["reason"], line["attempts"]) == (str(task.id), "expired", 0)
    assert line["outcome"] is None


def test_a_death_that_could_not_be_written_is_none(database: Database, warnings: io.StringIO) -> None:
    submit_one(database)
    task = claim_one(database)
    with database.read() as conn:
        dead = decide(task, answered(400), now=database.now(conn), jitter=0.5, limits=Limits())
    assert dead.ending is not None
    # The tables refuse this ending: what is written instead is a failure of our own, and the task goes on.
    written = write(database, [replace(dead, ending=replace(dead.ending, reason=None))], limits=Limits())
    assert len(written.settled) == 1
    tell_deaths(written.settled)
    assert lines(warnings) == []
    assert write(database, [dead], limits=Limits()).settled == []
