"""One connection, kept open across warm invocations, and what becomes of it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from taskqueue.client import TaskQueue, Unreachable
from tests.client.peer import TASK, Peer, accepts, hangs_up, peer, says, then_hangs_up

Client = Callable[..., TaskQueue]
URL = "https://your-app.example/api/process"
ID = TASK["id"]


def test_calls_in_a_row_use_one_connection(client_of: Client) -> None:
    with peer(accepts(), says(200, TASK), says(404, {}), says(204), accepts()) as service:
        queue = client_of(service)
        queue.tasks.create(target_url=URL)
        queue.tasks.get(TASK["id"])
        with pytest.raises(Exception, match="404"):
            queue.tasks.get(TASK["id"])
        queue.dead_letters.delete(ID)
        queue.tasks.create(target_url=URL)
    assert {asked.connection for asked in service.asked} == {1}


def test_a_connection_that_the_service_closed_meanwhile_is_replaced_unnoticed(client_of: Client) -> None:
    with peer(then_hangs_up(says(200, TASK)), says(200, TASK)) as service:
        queue = client_of(service)
        queue.tasks.get(TASK["id"])
        settle(service)
        assert queue.tasks.cancel(TASK["id"]).id == TASK["id"], "nothing was sent on the old one, so even this is safe"
    assert [(asked.path, asked.connection) for asked in service.asked] == [
        (f"/v1/tasks/{ID}", 1),
        (f"/v1/tasks/{ID}/cancel", 2),
    ]


def test_a_connection_that_ends_as_it_is_used_costs_a_submission_nothing(client_of: Client) -> None:
    with peer(accepts(), hangs_up, accepts()) as service:
        queue = client_of(service)
        queue.tasks.create(target_url=URL)
        queue.tasks.create(target_url=URL, idempotency_key="k")
    assert [asked.connection for asked in service.asked] == [1, 1, 2]
    assert [asked.headers["idempotency-key"] for asked in service.asked[1:]] == ["k", "k"]


def test_a_connection_that_ends_as_it_is_used_leaves_a_cancel_in_doubt(client_of: Client) -> None:
    with peer(accepts(), hangs_up, says(200, TASK)) as service:
        queue = client_of(service)
        queue.tasks.create(target_url=URL)
        with pytest.raises(Unreachable, match="may") as caught:
            queue.tasks.cancel(TASK["id"])
    assert caught.value.indeterminate
    assert len(service.asked) == 2


def test_a_service_that_wants_the_connection_closed_gets_its_way(client_of: Client) -> None:
    with peer(says(202, TASK, Connection="close")) as service:
        queue = client_of(service)
        queue.tasks.create(target_url=URL)
        queue.tasks.create(target_url=URL)
    assert [asked.connection for asked in service.asked] == [1, 2]


def test_an_answer_nobody_asked_for_is_never_taken_for_the_next_one(client_of: Client) -> None:
    said_all, heard_one = threading.Event(), threading.Event()

    def answers_twice(connection: socket.socket) -> bool:
        says(200, TASK)(connection)
        heard_one.wait(10)
        says(200, TASK | {"id": "stray"})(connection)
        said_all.set()
        return True

    with peer(answers_twice, says(200, TASK)) as service:
        queue = client_of(service)
        assert queue.tasks.get(TASK["id"]).id == TASK["id"]
        heard_one.set()
        assert said_all.wait(10)
        assert queue.tasks.get(TASK["id"]).id == TASK["id"]
    assert [asked.connection for asked in service.asked] == [1, 2]


def test_threads_share_a_client_without_sharing_a_connection_at_one_time(client_of: Client) -> None:
    together, answers = threading.Barrier(4, timeout=30), []

    def waits_for_the_others(connection: socket.socket) -> bool:
        together.wait()
        return accepts()(connection)

    with peer(waits_for_the_others) as service:
        queue = client_of(service, timeout=30)
        threads = [
            threading.Thread(target=lambda: answers.append(queue.tasks.create(target_url=URL))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 4
        assert len({asked.connection for asked in service.asked}) == 4


def test_a_forked_child_leaves_its_parents_connection_alone() -> None:
    program = f"""
import os, sys
from taskqueue.client import TaskQueue
queue = TaskQueue()
queue.tasks.get("{ID}")
if (child := os.fork()) == 0:
    queue.tasks.cancel("{ID}")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
queue.tasks.get("{ID}")
"""
    with peer(says(200, TASK)) as service:
        run(program, service)
    asked = [(asked.method, asked.connection) for asked in service.asked]
    assert asked == [("GET", 1), ("POST", 2), ("GET", 1)], "only the child called it off"


def test_https_is_spoken_to_a_service_whose_certificate_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with peer(says(200, TASK), tls=tls_of(authority)) as service:
        run(
            f"from taskqueue.client import TaskQueue\nq = TaskQueue()\nq.tasks.get('{ID}')\nq.tasks.get('{ID}')",
            service,
            trusted,
        )
    assert [asked.connection for asked in service.asked] == [1, 1]


def test_tls_to_a_service_without_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer_in_plain, args=(listener,), daemon=True).start()
        queue = TaskQueue(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Unreachable, match="the service speaks http here"):
            queue.tasks.get(ID)


def test_a_certificate_that_is_not_trusted_ends_it_before_anything_is_said(client_of: Client) -> None:
    with (
        peer(says(200, TASK), tls=tls_of(trustme.CA())) as service,
        pytest.raises(Unreachable, match="certificate verify failed") as caught,
    ):
        client_of(service).tasks.cancel(TASK["id"])
    assert not caught.value.indeterminate
    assert service.asked == []


def _answer_in_plain(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def tls_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def run(program: str, service: Peer, trusted: Path | None = None) -> None:
    """Run a program whose environment names ``service``."""
    environment = os.environ | {"TASKQUEUE_URL": service.url} | ({"SSL_CERT_FILE": str(trusted)} if trusted else {})
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr


def settle(service: Peer) -> None:
    """Wait until the end of the connection has arrived: on loopback that is at once."""
    service.hang_up()
