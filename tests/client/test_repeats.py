"""When a request is sent again, and when it must not be."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from taskqueue.client import ApiError, TaskQueue, TaskQueueError, Unreachable
from tests.client.peer import TASK, Answer, accepts, hangs_up, peer, problem, resets, says

Client = Callable[..., TaskQueue]
URL = "https://your-app.example/api/process"
BUSY = problem(503, "The store cannot serve right now")
THROTTLED = problem(429, "Too many requests")


@pytest.mark.parametrize(
    "first", [BUSY, THROTTLED, says(502, "<html>"), says(504), resets, hangs_up], ids=lambda answer: answer.__name__
)
def test_a_submission_is_repeated_with_the_same_key_and_bytes(client_of: Client, first: Answer) -> None:
    with peer(first, accepts()) as service:
        assert client_of(service).tasks.create(target_url=URL, payload=[1]).id == TASK["id"]
    once, again = service.asked
    assert once.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert once.body == again.body


def test_a_submission_is_sent_three_times_at_most(client_of: Client) -> None:
    with peer(BUSY) as service, pytest.raises(ApiError) as caught:
        client_of(service).tasks.create(target_url=URL, idempotency_key="k")
    assert len(service.asked) == 3
    assert (caught.value.status, caught.value.indeterminate) == (503, True)
    assert caught.value.idempotency_key == "k"


def test_every_submission_has_a_key_of_its_own(client_of: Client) -> None:
    with peer(accepts()) as service:
        queue = client_of(service)
        for _ in range(3):
            queue.tasks.create(target_url=URL)
    assert len({asked.headers["idempotency-key"] for asked in service.asked}) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500])
def test_a_refusal_is_not_repeated(client_of: Client, status: int) -> None:
    with peer(problem(status, "No")) as service, pytest.raises(ApiError) as caught:
        client_of(service).tasks.create(target_url=URL)
    assert len(service.asked) == 1
    assert (caught.value.status, caught.value.indeterminate) == (status, False)


def test_retry_after_is_honoured(client_of: Client) -> None:
    with peer(problem(503, "Busy", Retry_After="1"), accepts()) as service:
        client_of(service).tasks.create(target_url=URL)
    assert service.asked[1].at - service.asked[0].at >= 1


def test_a_long_retry_after_is_left_to_the_caller(client_of: Client) -> None:
    with peer(problem(429, "Quota", Retry_After="3600")) as service, pytest.raises(ApiError) as caught:
        client_of(service).tasks.create(target_url=URL)
    assert len(service.asked) == 1
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize("unread", ["Fri, 31 Dec 1999 23:59:59 GMT", "-1", "1.5", "soon", ""])
def test_a_retry_after_that_is_not_seconds_means_the_usual_pause(client_of: Client, unread: str) -> None:
    with peer(problem(503, "Busy", Retry_After=unread), accepts()) as service:
        client_of(service).tasks.create(target_url=URL)
    assert 0.05 < service.asked[1].at - service.asked[0].at < 15


@pytest.mark.parametrize("first", [BUSY, resets], ids=["503", "reset"])
@pytest.mark.parametrize(
    "steer",
    [
        lambda queue: queue.tasks.cancel(TASK["id"]),
        lambda queue: queue.tasks.run_now(TASK["id"]),
        lambda queue: queue.dead_letters.redrive(TASK["id"]),
        lambda queue: queue.dead_letters.delete(TASK["id"]),
    ],
    ids=["cancel", "run_now", "redrive", "delete"],
)
def test_what_may_have_been_done_is_not_repeated_without_a_key(
    client_of: Client, steer: Callable[[TaskQueue], object], first: Answer
) -> None:
    with peer(first, says(200, TASK)) as service, pytest.raises(TaskQueueError) as caught:
        steer(client_of(service))
    assert len(service.asked) == 1
    assert caught.value.indeterminate


def test_what_was_not_done_for_sure_is_repeated_without_a_key(client_of: Client) -> None:
    with peer(THROTTLED, says(200, TASK)) as service:
        assert client_of(service).tasks.cancel(TASK["id"]).id == TASK["id"]


@pytest.mark.parametrize("first", [BUSY, resets], ids=["503", "reset"])
def test_looking_again_does_no_harm(client_of: Client, first: Answer) -> None:
    with peer(first, says(200, TASK)) as service:
        assert client_of(service).tasks.get(TASK["id"]).id == TASK["id"]


def test_a_service_that_is_not_there_leaves_no_doubt() -> None:
    with peer(accepts()) as gone:
        pass
    started = time.monotonic()
    with pytest.raises(Unreachable, match="refused") as caught:
        TaskQueue(gone.url).tasks.create(target_url=URL)
    assert not caught.value.indeterminate
    assert caught.value.idempotency_key
    assert 0.2 < time.monotonic() - started < 20, "it should have knocked three times"
