"""No call takes longer than it may, whatever the service does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from taskqueue.client import TaskQueue, TaskQueueError, Unreachable
from tests.client.peer import TASK, Answer, accepts, drips, is_silent, peer, problem, says

Client = Callable[..., TaskQueue]
URL = "https://your-app.example/api/process"


class Invocation:
    """The context of an invocation that began with so many seconds left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


@contextmanager
def timed(at_least: float, at_most: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started <= at_most


@pytest.mark.parametrize("stalls", [is_silent, drips], ids=["silent", "dripping"])
def test_an_answer_that_does_not_come_whole_is_cut_at_the_timeout(client_of: Client, stalls: Answer) -> None:
    with peer(stalls) as service, timed(0.3, 1.3), pytest.raises(Unreachable) as caught:
        client_of(service, timeout=0.3).tasks.cancel(TASK["id"])
    assert caught.value.indeterminate
    assert len(service.asked) == 1


@pytest.mark.parametrize("stalls", [is_silent, drips], ids=["silent", "dripping"])
def test_a_submission_that_was_cut_is_repeated_and_then_given_up(client_of: Client, stalls: Answer) -> None:
    with peer(stalls) as service, timed(0.9, 4.0), pytest.raises(Unreachable) as caught:
        client_of(service, timeout=0.3).tasks.create(target_url=URL)
    assert caught.value.indeterminate
    assert len({asked.headers["idempotency-key"] for asked in service.asked}) == 1
    assert len({asked.connection for asked in service.asked}) == 3


def test_a_slow_answer_and_a_quick_repeat_make_a_success(client_of: Client) -> None:
    with peer(is_silent, accepts()) as service, timed(0.3, 2.0):
        assert client_of(service, timeout=0.3).tasks.create(target_url=URL).id == TASK["id"]


@pytest.mark.parametrize(
    "answer", [is_silent, drips, problem(503, "Busy"), problem(503, "Busy", Retry_After="2")], ids=lambda a: a.__name__
)
def test_a_call_ends_before_the_invocation_does(client_of: Client, answer: Answer) -> None:
    with peer(answer) as service:
        queue, context = client_of(service), Invocation(seconds=1.2)
        with pytest.raises(TaskQueueError):
            queue.tasks.create(target_url=URL, context=context)
        assert context.get_remaining_time_in_millis() >= 50, "the handler needs time to answer in"
        assert service.asked


def test_a_batch_ends_before_the_invocation_does(client_of: Client) -> None:
    with peer(is_silent) as service:
        queue, context = client_of(service), Invocation(seconds=0.8)
        with pytest.raises(Unreachable):
            queue.tasks.create_many([{"target_url": URL}], context=context)
        assert context.get_remaining_time_in_millis() >= 50


def test_an_invocation_with_time_enough_changes_nothing(client_of: Client) -> None:
    with peer(problem(503, "Busy"), accepts()) as service:
        assert client_of(service).tasks.create(target_url=URL, context=Invocation(seconds=30)).id == TASK["id"]


@pytest.mark.parametrize("left", [0.2, 0.0, -1.0])
def test_nothing_is_sent_when_no_time_is_left(client_of: Client, left: float) -> None:
    with peer(accepts()) as service, pytest.raises(Unreachable, match="no time") as caught:
        client_of(service).tasks.create(target_url=URL, context=Invocation(seconds=left))
    assert not caught.value.indeterminate
    assert service.asked == []


def test_a_name_that_leads_nowhere_is_unreachable() -> None:
    nowhere = f"http://{'x' * 60}.{'y' * 64}"  # no resolver is asked for a label this long
    with timed(0, 5), pytest.raises(Unreachable) as caught:
        TaskQueue(nowhere).tasks.create(target_url=URL)
    assert not caught.value.indeterminate


def test_a_long_poll_may_take_its_wait_and_the_timeout_on_top(client_of: Client) -> None:
    def answers_late(connection: socket.socket) -> bool:
        time.sleep(0.8)
        return says(200, TASK)(connection)

    with peer(answers_late) as service:
        assert client_of(service, timeout=0.5).tasks.get(TASK["id"], wait=1).id == TASK["id"]
    assert service.asked[0].path == f"/v1/tasks/{TASK['id']}?wait=1"
