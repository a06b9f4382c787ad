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
ENOUGH = 50  # milliseconds that a handler needs to answer in


class Invocation:
    """The context of an invocation that began with so many seconds left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


@contextmanager
def timed(at_least: float, at_most: float = 20.0) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started <= at_most


def left_after(call: Callable[[Invocation], object], *, seconds: float) -> int:
    """Milliseconds left of an invocation in which ``call`` fails; the best of three, as the machine may be late."""
    best = 0
    for _ in range(3):
        context = Invocation(seconds)
        with pytest.raises(TaskQueueError):
            call(context)
        best = max(best, context.get_remaining_time_in_millis())
        if best >= ENOUGH:
            break
    return best


@pytest.mark.parametrize("stalls", [is_silent, drips], ids=["silent", "dripping"])
def test_an_answer_that_does_not_come_whole_is_cut_at_the_timeout(client_of: Client, stalls: Answer) -> None:
    with peer(stalls) as service:
        with timed(0.3), pytest.raises(Unreachable) as caught:
            client_of(service, timeout=0.3).tasks.cancel(TASK["id"])
        service.wait_for_requests(1)
    assert caught.value.indeterminate
    assert len(service.asked) == 1


@pytest.mark.parametrize("stalls", [is_silent, drips], ids=["silent", "dripping"])
def test_a_submission_that_was_cut_is_repeated_and_then_given_up(client_of: Client, stalls: Answer) -> None:
    with peer(stalls) as service:
        with timed(0.9), pytest.raises(Unreachable) as caught:
            client_of(service, timeout=0.3).tasks.create(target_url=URL)
        service.wait_for_requests(3)
    assert caught.value.indeterminate
    assert len({asked.headers["idempotency-key"] for asked in service.asked}) == 1
    assert len({asked.connection for asked in service.asked}) == 3


def test_a_slow_answer_and_a_quick_repeat_make_a_success(client_of: Client) -> None:
    with peer(is_silent, accepts()) as service, timed(1):
        assert client_of(service, timeout=1).tasks.create(target_url=URL).id == TASK["id"]


@pytest.mark.parametrize(
    "answer", [is_silent, drips, problem(503, "Busy"), problem(503, "Busy", Retry_After="2")], ids=lambda a: a.__name__
)
def test_a_call_ends_before_the_invocation_does(client_of: Client, answer: Answer) -> None:
    with peer(answer) as service:
        queue = client_of(service)
        left = left_after(lambda context: queue.tasks.create(target_url=URL, context=context), seconds=1.2)
        service.wait_for_requests(1)
    assert left >= ENOUGH


def test_a_batch_ends_before_the_invocation_does(client_of: Client) -> None:
    with peer(is_silent) as service:
        queue = client_of(service)
        left = left_after(lambda context: queue.tasks.create_many([{"target_url": URL}], context=context), seconds=0.8)
    assert left >= ENOUGH


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
    with timed(0), pytest.raises(Unreachable) as caught:
        TaskQueue(nowhere).tasks.create(target_url=URL)
    assert not caught.value.indeterminate


def test_a_long_poll_may_take_its_wait_and_the_timeout_on_top(client_of: Client) -> None:
    def answers_late(connection: socket.socket) -> bool:
        time.sleep(1.5)
        return says(200, TASK)(connection)

    with peer(answers_late) as service:
        assert client_of(service, timeout=1).tasks.get(TASK["id"], wait=10).id == TASK["id"]
    assert service.asked[0].path == f"/v1/tasks/{TASK['id']}?wait=10"
