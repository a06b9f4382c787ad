"""Following tasks to their end, and looking at lists of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.client import TaskQueue, TaskQueueError
from tests.client.peer import TASK, peer, says

Client = Callable[..., TaskQueue]
DONE = TASK | {"status": "succeeded", "attempt": 1, "result": {"statusCode": 200}}


def test_waiting_polls_until_the_task_has_ended(client_of: Client) -> None:
    running = TASK | {"status": "running"}
    with peer(says(200, TASK), says(200, running), says(200, DONE)) as service:
        task = client_of(service).tasks.wait(TASK["id"], timeout=60)
    assert (task.ended, task.result) == (True, {"statusCode": 200})
    assert [asked.path for asked in service.asked] == [f"/v1/tasks/{TASK['id']}?wait=25.0"] * 3


def test_a_service_too_busy_to_hold_polls_is_not_asked_at_full_speed(client_of: Client) -> None:
    with peer(says(200, TASK)) as service:
        started = time.monotonic()
        task = client_of(service).tasks.wait(TASK["id"], timeout=0.7)
    assert not task.ended
    assert 0.7 <= time.monotonic() - started < 20
    assert len(service.asked) <= 5


def test_waiting_for_no_time_looks_once(client_of: Client) -> None:
    with peer(says(200, TASK)) as service:
        assert not client_of(service).tasks.wait(TASK["id"], timeout=0).ended
    assert [asked.path for asked in service.asked] == [f"/v1/tasks/{TASK['id']}?wait=0.0"]


@pytest.mark.parametrize(
    ("steer", "method", "path"),
    [
        (lambda queue: queue.tasks.cancel(TASK["id"]), "POST", f"/v1/tasks/{TASK['id']}/cancel"),
        (lambda queue: queue.tasks.run_now(TASK["id"]), "POST", f"/v1/tasks/{TASK['id']}/run-now"),
        (lambda queue: queue.dead_letters.get(TASK["id"]), "GET", f"/v1/dead-letters/{TASK['id']}"),
        (lambda queue: queue.dead_letters.redrive(TASK["id"]), "POST", f"/v1/dead-letters/{TASK['id']}/redrive"),
        (lambda queue: queue.dead_letters.delete(TASK["id"]), "DELETE", f"/v1/dead-letters/{TASK['id']}"),
        (lambda queue: queue.queues.get("mail.eu"), "GET", "/v1/queues/mail.eu"),
        (lambda queue: queue.queues.put("a/b", concurrency=2), "PUT", "/v1/queues/a%2Fb"),
        (lambda queue: queue.queues.pause("mail"), "POST", "/v1/queues/mail/pause"),
        (lambda queue: queue.queues.resume("mail"), "POST", "/v1/queues/mail/resume"),
        (lambda queue: queue.queues.delete("mail"), "DELETE", "/v1/queues/mail"),
    ],
)
def test_each_verb_has_its_path(
    client_of: Client, steer: Callable[[TaskQueue], object], method: str, path: str
) -> None:
    with peer(says(204) if method == "DELETE" else says(200, TASK)) as service:
        steer(client_of(service))
    assert [(asked.method, asked.path) for asked in service.asked] == [(method, path)]


def test_what_a_queue_is_given_is_spelled_as_the_api_does(client_of: Client) -> None:
    with peer(says(200, TASK)) as service:
        client_of(service).queues.put(
            "mail",
            rate={"limit": 5, "period": timedelta(minutes=1)},
            on_death="block",
            defaults={"retry_policy": "never"},
        )
    assert service.asked[0].json == {
        "rate": {"limit": 5, "period": 60.0},
        "onDeath": "block",
        "defaults": {"retryPolicy": "never"},
    }


@pytest.mark.parametrize("text", ["nope", "", "a/../b?", TASK["id"] + "0", TASK["id"].replace("-", "")])
def test_an_id_that_is_no_uuid_is_refused_before_anything_is_sent(client_of: Client, text: str) -> None:
    with peer(says(200, TASK)) as service:
        queue = client_of(service)
        with pytest.raises(TaskQueueError, match=r"is not a task id \(a UUID\)"):
            queue.tasks.get(text)
        with pytest.raises(TaskQueueError, match=r"is not a dead letter id \(a UUID\)"):
            queue.dead_letters.redrive(text)
    assert service.asked == []


def test_attempts_come_as_they_are_on_record(client_of: Client) -> None:
    attempts = [{"number": 1, "class": "server_error"}, {"number": 2, "class": "success"}]
    with peer(says(200, {"items": attempts})) as service:
        assert client_of(service).tasks.attempts(TASK["id"]) == attempts
    assert service.asked[0].path == f"/v1/tasks/{TASK['id']}/attempts"


def test_webhooks_of_a_task_are_tasks(client_of: Client) -> None:
    with peer(says(200, {"items": [TASK]})) as service:
        assert [hook.id for hook in client_of(service).tasks.webhooks(TASK["id"])] == [TASK["id"]]
    assert service.asked[0].path == f"/v1/tasks/{TASK['id']}/webhooks"


def test_tasks_are_listed_page_by_page(client_of: Client) -> None:
    with peer(
        says(200, {"items": [TASK], "nextCursor": "c2"}), says(200, {"items": [], "nextCursor": None})
    ) as service:
        queue = client_of(service)
        since = datetime(2030, 1, 31, 8, tzinfo=UTC)
        first = queue.tasks.list(status="dead", created_after=since, target_host="a b", label=None, limit=1)
        second = queue.tasks.list(cursor=first.next_cursor)
    assert ([task.id for task in first.items], first.next_cursor) == ([TASK["id"]], "c2")
    assert second == ([], None)
    assert [asked.path for asked in service.asked] == [
        "/v1/tasks?status=dead&createdAfter=2030-01-31T08%3A00%3A00.000Z&targetHost=a+b&limit=1",
        "/v1/tasks?cursor=c2",
    ]


def test_dead_letters_are_listed_by_class_and_by_whether_they_were_redriven(client_of: Client) -> None:
    letter = {"id": "d", "reason": "exhausted"}
    with peer(says(200, {"items": [letter], "nextCursor": None})) as service:
        page = client_of(service).dead_letters.list(class_="timeout", include_redriven=True)
    assert list(page.items) == [letter]
    assert service.asked[0].path == "/v1/dead-letters?class=timeout&includeRedriven=true"


def test_a_redrive_says_what_changes(client_of: Client) -> None:
    with peer(says(200, TASK)) as service:
        client_of(service).dead_letters.redrive(TASK["id"], payload=None, timeout=timedelta(minutes=5), retries=1)
    assert service.asked[0].json == {"payload": None, "timeout": 300, "retries": 1}


def test_a_chain_is_followed_from_any_of_its_members(client_of: Client) -> None:
    with peer(says(200, {"items": [TASK, TASK]})) as service:
        chain = client_of(service).tasks.chain(TASK["id"])
    assert [task.id for task in chain] == [TASK["id"]] * 2
    assert service.asked[0].path == f"/v1/tasks/{TASK['id']}/chain"


def test_dead_letters_are_counted_by_cause_page_by_page(client_of: Client) -> None:
    group = {"fingerprint": "0123456789abcdef", "count": 3}
    with peer(says(200, {"items": [group], "nextCursor": "c2"})) as service:
        page = client_of(service).dead_letters.groups(reason="exhausted", limit=1)
    assert (list(page.items), page.next_cursor) == ([group], "c2")
    assert service.asked[0].path == "/v1/dead-letters/groups?reason=exhausted&limit=1"


def test_a_compensated_death_is_redriven_by_force(client_of: Client) -> None:
    with peer(says(200, TASK)) as service:
        client_of(service).dead_letters.redrive(TASK["id"], force=True)
    assert service.asked[0].json == {"force": True}
