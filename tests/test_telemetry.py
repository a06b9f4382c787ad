"""Events are one line each, and hold nothing that was not on the list."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

import pytest

from taskqueue import telemetry
from taskqueue.core.errors import StoreUnavailable
from taskqueue.telemetry import Event


def test_an_event_is_one_line_of_json_with_its_name_level_and_facts(log: io.StringIO) -> None:
    telemetry.info(Event.WORKER_STARTED, worker="w-1", concurrency=100)
    (line,) = log.getvalue().splitlines()
    event = json.loads(line)
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert event | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "worker.started",
        "worker": "w-1",
        "concurrency": 100,
    }


def test_what_is_not_on_the_list_is_dropped(log: io.StringIO) -> None:
    telemetry.info(Event.WORKER_STARTED, worker="w-1", headers={"authorization": "Bearer canary"}, payload=b"canary")  # type: ignore[call-arg]
    assert "canary" not in log.getvalue()


def test_the_text_of_a_foreign_error_is_not_written(log: io.StringIO) -> None:
    telemetry.exception(Event.WORKER_FAULT, _raised(ValueError("row (canary) violates"), cause=KeyError("canary")))
    event = json.loads(log.getvalue())
    assert "canary" not in log.getvalue()
    assert event["error_type"] == "ValueError from KeyError"
    assert any("test_telemetry.py" in frame for frame in event["frames"])


def test_the_text_of_our_own_error_is(log: io.StringIO) -> None:
    telemetry.exception(Event.STORE_UNAVAILABLE, _raised(StoreUnavailable("the database is away")), what="claim")
    assert json.loads(log.getvalue())["error"] == "the database is away"


def test_a_name_with_a_line_break_cannot_forge_an_event(log: io.StringIO) -> None:
    telemetry.configure(log_format="console", stream=log)
    telemetry.warning(Event.TARGET_FORBIDDEN, host="evil\n2026-01-01T00:00:00Z [info] worker.stopped \x1b[2J")
    assert len(log.getvalue().splitlines()) == 1
    assert "\x1b" not in log.getvalue()


def test_events_below_the_level_are_not_written(log: io.StringIO) -> None:
    telemetry.configure(log_format="json", level="warning", stream=log)
    telemetry.info(Event.WORKER_STARTED)
    telemetry.debug(Event.ATTEMPT_SETTLED)
    assert log.getvalue() == ""


def read_by_nobody() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", buffering=1)


def on_a_full_disk() -> TextIO:
    return open("/dev/full", "w", buffering=1)


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("opened", [read_by_nobody, on_a_full_disk, closed])
def test_a_log_that_cannot_be_written_stops_nobody(opened: Callable[[], TextIO], log: io.StringIO) -> None:
    unfit = opened()
    telemetry.configure(log_format="json", stream=unfit)
    for _ in range(200):
        telemetry.info(Event.WORKER_STARTED, worker="w-1")
        telemetry.exception(Event.WORKER_FAULT, ValueError("surprise"))
    with suppress(OSError):
        unfit.close()


def _raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught
