"""API keys against the API as a process: duplicates on the wire, two processes, and a log without keys."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskqueue.core.api_key import Scope, key_text
from taskqueue.store import api_keys
from taskqueue.store.database import Database
from tests.support.databases import SqliteTemplate
from tests.support.processes import environment, run, wait_until
from tests.web.keys import make_key
from tests.web.test_server import Server, serving
from tests.web.wire import JSON, Raw

pytestmark = pytest.mark.e2e
TASK = {"targetUrl": "https://target.example/work"}


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    template: SqliteTemplate = request.getfixturevalue("_sqlite_template")
    return template.copy(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def store(url: str) -> Iterator[Database]:
    opened = Database.open(url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    with serving(directory, url, auth="on", host="0.0.0.0", log_level="debug", log_format="json") as started:
        yield started


def ask(server: Server, *headers: bytes, path: str = "/v1/tasks") -> Raw:
    with server.wire() as wire:
        wire.send(b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"Host: service.example", *headers, b"\r\n"]))
        return wire.answer()


def test_an_address_that_others_reach_is_served_to_those_with_a_key(server: Server, store: Database) -> None:
    text = make_key(store, Scope.SUBMIT, Scope.READ).text
    bearer = f"Authorization: Bearer {text}"
    with server.wire() as stranger:
        assert stranger.post("/v1/tasks", TASK).status == 401
    with server.wire() as wire:
        made = wire.post("/v1/tasks", TASK, bearer)
        assert made.status == 202
        assert ask(server, bearer.encode(), path=f"/v1/tasks/{made.json['id']}").status == 200
        assert wire.post(f"/v1/tasks/{made.json['id']}/cancel", {}, bearer).status == 403
    assert [ask(server, path=path).status for path in ("/healthz", "/readyz", "/openapi.json")] == [200] * 3
    assert ask(server).headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", [b"Authorization: Bearer ", b"X-API-Key: "])
def test_a_header_that_comes_twice_opens_nothing(server: Server, store: Database, name: bytes) -> None:
    text = make_key(store).text.encode()
    assert ask(server, name + text).status == 200
    for other in (text, key_text(b"\1" * 32).encode(), b"x"):
        assert ask(server, name + text, name + other).status == 401
        assert ask(server, name + other, name + text).status == 401


@pytest.mark.parametrize("spoiled", [b"\xff", b"\xc3\xa9", b"\xe2\x80\x8b", b"\x01", b"\x7f", b"A" * 60_000])
def test_bytes_that_no_key_has_open_nothing_and_break_nothing(server: Server, store: Database, spoiled: bytes) -> None:
    text = make_key(store).text.encode()
    for header in (b"X-API-Key: " + text + spoiled, b"Authorization: Bearer " + spoiled + text):
        assert ask(server, header).status in (400, 401, 431)
    assert ask(server, b"X-API-Key: " + text).status == 200


def test_a_body_is_not_waited_for_from_nobody(server: Server) -> None:
    with server.wire() as wire:
        wire.send_head("POST", "/v1/tasks", JSON, "Content-Length: 1000")
        assert wire.answer().status == 401


def test_every_process_refuses_a_revoked_key_within_five_seconds(tmp_path: Path, url: str, store: Database) -> None:
    made = make_key(store)
    header = f"X-API-Key: {made.text}".encode()
    with serving(tmp_path, url, auth="on", api_processes=2) as server:
        for _ in range(30):  # so that each process has seen it
            assert ask(server, header).status == 200
        revoked = run("keys", "revoke", str(made.key.id), cwd=tmp_path, environ=environment(tmp_path, database_url=url))
        assert revoked.returncode == 0, revoked.stderr
        ends = time.monotonic() + 5
        wait_until(lambda: ask(server, header).status == 401, seconds=5, what="the refusal")
        time.sleep(max(0, ends - time.monotonic()))
        assert {ask(server, header).status for _ in range(30)} == {401}


def test_a_use_is_on_record_soon(server: Server, store: Database) -> None:
    made = make_key(store)
    ask(server, f"X-API-Key: {made.text}".encode())

    def used() -> bool:
        with store.read() as conn:
            key = api_keys.get(conn, "default", made.key.id)
        return key is not None and key.last_used_at is not None

    wait_until(used, what="the use")


def test_nothing_of_a_key_stands_in_the_log_or_in_the_file(server: Server, store: Database, url: str) -> None:
    texts = [make_key(store).text, key_text(b"\2" * 32)]
    headers = [f"{name}{text}".encode() for text in texts for name in ("X-API-Key: ", "Authorization: Bearer ")]
    with broken(url):
        assert ask(server, headers[0]).status in (500, 503), "the worst that can happen to a look-up"
        assert ask(server, headers[1]).status in (500, 503)
    for header in headers:
        for path in ("/v1/tasks", "/v1/tasks?x=1", "/nowhere", "/v1/tasks/7"):
            ask(server, header, path=path)
    file = Path(url.removeprefix("sqlite:///"))
    wal = file.with_name(file.name + "-wal")
    kept = file.read_bytes() + (wal.read_bytes() if wal.exists() else b"")
    for text in texts:
        assert text[11:30] not in server.process.output
        assert text[11:30].encode() not in kept
    assert all(json.loads(line) for line in server.process.output.splitlines() if line.startswith("{"))


@contextmanager
def broken(url: str) -> Iterator[None]:
    """The table of keys is missing meanwhile."""
    raw = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    raw.execute("alter table api_keys rename to gone")
    try:
        yield
    finally:
        raw.execute("alter table gone rename to api_keys")
        raw.close()
