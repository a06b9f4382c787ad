"""The API as a process: real sockets, hostile peers, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.databases import SqliteTemplate
from tests.support.processes import (
    Running,
    alive,
    children,
    environment,
    free_port,
    ready,
    run,
    running,
    wait_until,
)
from tests.web.wire import JSON, Raw, Wire

TASK = {"targetUrl": "https://target.example/work"}
MAX_BODY = 65_536


@dataclass
class Server:
    """A running API."""

    port: int
    process: Running

    def wire(self) -> Wire:
        return Wire(self.port)


@contextmanager
def serving(directory: Path, database_url: str, port: int | None = None, **variables: object) -> Iterator[Server]:
    port = port or free_port()
    environ = environment(
        directory,
        database_url=database_url,
        port=port,
        max_body_bytes=MAX_BODY,
        max_batch_bytes=4 * MAX_BODY,
        **{"api_threads": 8, **variables},
    )
    with running("api", cwd=directory, environ=environ) as process:
        wait_until(lambda: ready(port) or not alive(process.pid), what="the API")
        yield Server(port, process)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    template: SqliteTemplate = request.getfixturevalue("_sqlite_template")
    directory = tmp_path_factory.mktemp("server")
    with serving(directory, template.copy(directory)) as started:
        yield started


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    template: SqliteTemplate = request.getfixturevalue("_sqlite_template")
    return template.copy(tmp_path)


class TestSockets:
    """What arrives may be slow, large, cut or nonsense."""

    def test_a_connection_serves_many_requests(self, server: Server) -> None:
        with server.wire() as wire:
            ids = {wire.post("/v1/tasks", TASK).json["id"] for _ in range(5)}
            assert {wire.get(f"/v1/tasks/{id_}").json["id"] for id_ in ids} == ids

    def test_requests_may_be_sent_before_their_answers_come(self, server: Server) -> None:
        with server.wire() as wire:
            for path in ("/healthz", "/nowhere", "/healthz"):
                wire.send_head("GET", path)
            assert [wire.answer().status for _ in range(3)] == [200, 404, 200]

    def test_a_body_may_come_in_chunks(self, server: Server) -> None:
        with server.wire() as wire:
            wire.send_head("POST", "/v1/tasks", JSON, "Transfer-Encoding: chunked")
            for piece in (b'{"targetUrl":', b'"https://target.example/"', b"}"):
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                time.sleep(0.05)
            wire.send(b"0\r\n\r\n")
            assert wire.answer().status == 202

    def test_a_body_that_says_it_is_too_large_is_refused_unread(self, server: Server) -> None:
        with server.wire() as wire:
            wire.send_head("POST", "/v1/tasks", JSON, f"Content-Length: {10**12}")
            assert wire.answer().status == 413

    def test_chunks_without_end_are_refused(self, server: Server) -> None:
        with server.wire() as wire:
            wire.send_head("POST", "/v1/tasks", JSON, "Transfer-Encoding: chunked")
            wire.send(b"10001\r\n" + b" " * (MAX_BODY + 1) + b"\r\n")
            assert wire.answer().status == 413

    def test_a_client_that_waits_for_a_go_ahead_gets_one(self, server: Server) -> None:
        with server.wire() as wire:
            body = b'{"targetUrl": "https://target.example/"}'
            wire.send_head("POST", "/v1/tasks", JSON, f"Content-Length: {len(body)}", "Expect: 100-continue")
            assert wire.answer().status == 100
            wire.send(body)
            assert wire.answer().status == 202

    def test_a_body_that_was_cut_is_not_accepted(self, server: Server) -> None:
        body = b'{"targetUrl": "https://target.example/"}'
        with server.wire() as wire:
            wire.send_head("POST", "/v1/tasks", JSON, f"Content-Length: {len(body) + 1}")
            wire.send(body)
            wire.finish()
            assert wire.answer().status == 400

    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (b"NONSENSE\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431),
            (b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n", 400),
            (b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ],
        ids=["no HTTP", "many headers", "no length", "no chunk"],
    )
    def test_what_is_not_http_is_refused(self, server: Server, request_: bytes, status: int) -> None:
        with server.wire() as wire:
            wire.send(request_)
            answer = wire.answer()
        assert answer.status == status
        with server.wire() as wire:
            assert wire.get("/healthz").status == 200

    @pytest.mark.parametrize("path", ["/%ff%fe", "/%00", "/v1/tasks/%2f", "/v1/tasks?%ff=%ff", "/v1/tasks?a=%zz"])
    def test_an_odd_path_is_no_fault_of_ours(self, server: Server, path: str) -> None:
        with server.wire() as wire:
            answer = wire.get(path)
        assert answer.status in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"

    def test_slow_peers_do_not_stop_others(self, server: Server) -> None:
        with ExitStack() as stack:
            for _ in range(3):
                slow = stack.enter_context(server.wire())
                slow.send_head("POST", "/v1/tasks", JSON, "Content-Length: 100")
                slow.send(b"{")
            for _ in range(200):
                stack.enter_context(server.wire()).send(b"GET /healthz HTTP/1.1\r\nHo")
            # They stall for longer than this one waits for its answer.
            assert stack.enter_context(server.wire()).post("/v1/tasks", TASK).status == 202

    def test_a_peer_that_leaves_does_no_harm(self, server: Server) -> None:
        for _ in range(20):
            with server.wire() as wire:
                wire.send_head("POST", "/v1/tasks", JSON, "Content-Length: 100")
                wire.send(b'{"targetUrl"')
        with server.wire() as wire:
            assert wire.post("/v1/tasks", TASK).status == 202


class TestStalledBodies:
    """Whoever announces a body and never sends it holds a thread, but not all of them."""

    def test_others_are_answered_and_new_bodies_are_put_off(self, tmp_path: Path, sqlite_url: str) -> None:
        answers: list[Raw] = []
        with serving(tmp_path, sqlite_url, api_threads=4) as server:

            def is_answered(status: int) -> bool:
                with server.wire() as wire:
                    answers.append(wire.post("/v1/tasks", TASK))
                return answers[-1].status == status

            with ExitStack() as stack:
                for _ in range(8):
                    stalled = stack.enter_context(server.wire())
                    stalled.send_head("POST", "/v1/tasks", JSON, "Content-Length: 1000")
                    stalled.send(b"{")
                # The server sees that they stall, and later that they are gone, in its own time.
                wait_until(lambda: is_answered(503), what="a refusal")
                for path in ("/healthz", "/readyz", "/v1/tasks"):
                    assert stack.enter_context(server.wire()).get(path).status == 200
            assert answers[-1].json["type"] == "urn:taskqueue:problem:busy"
            assert int(answers[-1].headers["retry-after"]) >= 1
            wait_until(lambda: is_answered(202), what="a receipt")
            assert {answer.status for answer in answers} == {202, 503}

    def test_a_crowd_that_sends_its_bodies_is_served_whole(self, tmp_path: Path, sqlite_url: str) -> None:
        with serving(tmp_path, sqlite_url, api_threads=4) as server, ExitStack() as stack:
            crowd = [stack.enter_context(server.wire()) for _ in range(50)]
            body = json.dumps(TASK).encode()
            for wire in crowd:
                wire.send_head("POST", "/v1/tasks", JSON, f"Content-Length: {len(body)}")
                wire.send(body)
            assert {wire.answer().status for wire in crowd} == {202}


class TestStopping:
    """A stop loses nothing, hangs nowhere and leaves nobody behind."""

    def test_a_stop_answers_long_polls_and_ends_well(self, tmp_path: Path, sqlite_url: str) -> None:
        with serving(tmp_path, sqlite_url) as server, server.wire() as wire, server.wire() as idle:
            assert idle.get("/healthz").status == 200
            task_id = wire.post("/v1/tasks", TASK).json["id"]
            wire.send_head("GET", f"/v1/tasks/{task_id}?wait=25")
            assert idle.get("/healthz").status == 200  # what came before this has been read as well
            time.sleep(0.5)
            started = time.monotonic()
            server.process.signal(signal.SIGTERM)
            answer = wire.answer()
            assert (answer.status, answer.json["status"]) == (200, "queued")
            assert idle.ended()
            assert server.process.wait() == 0
            assert time.monotonic() - started < 20
            assert "api.stopped" in server.process.output

    def test_control_c_in_a_terminal_ends_well(self, tmp_path: Path, sqlite_url: str) -> None:
        with serving(tmp_path, sqlite_url) as server:
            # A terminal tells parent and children alike.
            for pid in (*children(server.process.pid), server.process.pid):
                os.kill(pid, signal.SIGINT)
            assert server.process.wait() == 0

    def test_a_body_that_never_comes_delays_a_stop_for_seconds_only(self, tmp_path: Path, sqlite_url: str) -> None:
        with serving(tmp_path, sqlite_url) as server, server.wire() as wire:
            wire.send_head("POST", "/v1/tasks", JSON, "Content-Length: 100")
            time.sleep(0.3)
            server.process.signal(signal.SIGTERM)
            assert server.process.wait() == 0

    def test_killing_the_api_leaves_no_orphan_and_frees_its_port(self, tmp_path: Path, sqlite_url: str) -> None:
        with serving(tmp_path, sqlite_url, api_processes=2) as server:
            with server.wire() as wire:
                task_id = wire.post("/v1/tasks", TASK).json["id"]
            wait_until(lambda: len(children(server.process.pid)) == 2, what="both children")
            orphans = children(server.process.pid)
            server.process.signal(signal.SIGKILL)
            server.process.wait()
            wait_until(lambda: not any(map(alive, orphans)), what="the children to end")
            with serving(tmp_path, sqlite_url, port=server.port) as after, after.wire() as wire:
                assert wire.get(f"/v1/tasks/{task_id}").status == 200

    def test_a_child_that_dies_is_replaced(self, tmp_path: Path, sqlite_url: str) -> None:
        with serving(tmp_path, sqlite_url) as server:
            (child,) = children(server.process.pid)
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: children(server.process.pid) not in ([], [child]), what="another child")
            wait_until(lambda: ready(server.port), what="its answers")


class TestStarting:
    """What must not be served is refused in one sentence."""

    def test_a_port_in_use_is_not_shared(self, server: Server, tmp_path: Path, sqlite_url: str) -> None:
        refused = run("api", cwd=tmp_path, environ=environment(tmp_path, database_url=sqlite_url, port=server.port))
        assert refused.returncode != 0
        assert f"TASKQUEUE_PORT {server.port}" in refused.stderr
        assert "Traceback" not in refused.stderr

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
    def test_an_address_that_others_can_reach_is_refused(self, tmp_path: Path, sqlite_url: str, host: str) -> None:
        refused = run("api", cwd=tmp_path, environ=environment(tmp_path, database_url=sqlite_url, host=host))
        assert refused.returncode != 0
        assert "TASKQUEUE_HOST" in refused.stderr

    def test_a_database_without_tables_is_refused(self, tmp_path: Path) -> None:
        environ = environment(tmp_path, database_url=f"sqlite:///{tmp_path}/new.db", port=free_port())
        refused = run("api", cwd=tmp_path, environ=environ)
        assert refused.returncode != 0
        assert "taskqueue migrate" in refused.stderr

    @pytest.mark.parametrize("host", ["localhost", "::1"])
    def test_other_names_of_this_machine_are_served(self, tmp_path: Path, sqlite_url: str, host: str) -> None:
        port = free_port()
        environ = environment(tmp_path, database_url=sqlite_url, port=port, host=host)
        with running("api", cwd=tmp_path, environ=environ):

            def answers() -> bool:
                try:
                    with socket.create_connection((host, port), timeout=1) as peer:
                        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                        return peer.recv(15) == b"HTTP/1.1 200 OK"
                except OSError:
                    return False

            wait_until(answers, what=f"an answer on {host}")
