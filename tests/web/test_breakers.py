"""Breakers over HTTP: what is held back, and closing one by hand."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta

import pytest

from taskqueue.core.breaker import FAILURES, FIRST_SPAN, Mark
from taskqueue.store import origins
from taskqueue.store.database import Database
from tests.support.builders import claim_all
from tests.support.clock import Clock
from tests.web.contract import Api, Json

HOST = "https://target.example:443"


def report(database: Database, origin: str = HOST, *, failures: int = 0, sound: int = 0, of: str = "default") -> None:
    with database.begin() as conn:
        now = database.now(conn)
        marks = [Mark(now, True)] * failures + [Mark(now, False)] * sound
        origins.report(conn, database, {(of, origin): marks}, jitter=0)


def listed(api: Api, **query: object) -> list[Json]:
    items: list[Json] = api.get("/v1/breakers", **query).json["items"]
    return items


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_nothing_is_held_back_at_first(api: Api) -> None:
    assert api.get("/v1/breakers").json == {"items": [], "nextCursor": None}


def test_an_open_breaker_shows_since_when_until_when_and_why(api: Api, database: Database) -> None:
    report(database, failures=FAILURES, sound=2)
    (shown,) = listed(api)
    assert at(shown["openUntil"]) - at(shown["since"]) == FIRST_SPAN
    del shown["openUntil"], shown["since"]
    assert shown == {
        "origin": HOST,
        "state": "open",
        "allowed": 0,
        "trips": 1,
        "failures": FAILURES,
        "calls": FAILURES + 2,
        "links": {"self": "/v1/breakers?origin=https%3A%2F%2Ftarget.example%3A443"},
    }
    assert [each["origin"] for each in api.call("GET", shown["links"]["self"]).json["items"]] == [HOST]


def test_a_breaker_is_followed_from_open_to_closed(api: Api, database: Database, clock: Clock) -> None:
    report(database, failures=FAILURES)
    opened = listed(api)[0]
    clock.advance(seconds=FIRST_SPAN.total_seconds())
    (probing,) = listed(api)
    assert (probing["state"], probing["allowed"], probing["since"]) == ("probing", 1, opened["openUntil"])
    report(database, sound=1)
    (slow,) = listed(api, state="slow")
    assert (slow["allowed"], slow["openUntil"]) == (2, None)
    clock.advance(minutes=5)
    report(database, sound=1)
    assert listed(api) == []
    (closed,) = listed(api, origin="https://target.example/any/path")
    assert (closed["state"], closed["allowed"], closed["trips"]) == ("closed", None, 1)
    assert listed(api, state="closed") == [closed]
    assert listed(api, state="open", origin=HOST) == []


def test_breakers_are_listed_page_by_page_and_those_of_other_projects_never(api: Api, database: Database) -> None:
    names = [f"https://host-{number}.example:443" for number in range(3)]
    for name in names:
        report(database, name, failures=FAILURES)
    report(database, "https://foreign.example:443", failures=FAILURES, of="other")
    first = api.get("/v1/breakers", limit=2).json
    rest = api.get("/v1/breakers", limit=2, cursor=first["nextCursor"]).json
    assert [each["origin"] for each in (*first["items"], *rest["items"])] == names
    assert rest["nextCursor"] is None


def test_closing_a_breaker_lets_what_waits_start(api: Api, database: Database, log: io.StringIO) -> None:
    api.submit()
    report(database, failures=FAILURES)
    assert claim_all(database) == []
    answer = api.post("/v1/breakers/reset", {"origin": "https://target.example"})
    assert (answer.status, answer.json["state"], answer.json["origin"]) == (200, "closed", HOST)
    assert len(claim_all(database)) == 1
    (told,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (told["event"], told["origin"], told["why"]) == ("breaker.closed", HOST, "by hand")


def test_what_comes_back_from_before_does_not_open_it_again(api: Api, database: Database, clock: Clock) -> None:
    report(database, failures=FAILURES)
    with database.read() as conn:
        started_at = database.now(conn)
    clock.advance(seconds=1)
    api.post("/v1/breakers/reset", {"origin": HOST})
    with database.begin() as conn:
        marks = [Mark(started_at - timedelta(seconds=1), True)] * 100
        origins.report(conn, database, {("default", HOST): marks}, jitter=0)
    assert listed(api) == []


def test_an_origin_without_a_breaker_cannot_be_reset(api: Api, database: Database) -> None:
    report(database, failures=FAILURES, of="other")
    answer = api.post("/v1/breakers/reset", {"origin": HOST})
    assert answer.status == 404
    assert "nothing is held against it" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/origin"),
        ({"origin": "target.example"}, "/origin"),
        ({"origin": 7}, "/origin"),
        ({"origin": HOST, "force": True}, "/force"),
    ],
)
def test_what_cannot_be_an_origin_is_refused(front: Api, body: Json, pointer: str) -> None:
    answer = front.post("/v1/breakers/reset", body)
    assert (answer.status, list(answer.faults)) == (422, [pointer])


@pytest.mark.parametrize("query", [{"state": "broken"}, {"origin": "target.example"}, {"limit": 0}, {"host": "a"}])
def test_a_list_that_cannot_be_meant_is_refused(front: Api, query: Json) -> None:
    answer = front.get("/v1/breakers", **query)
    assert (answer.status, list(answer.faults)) == (422, [f"/{next(iter(query))}"])


def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    assert api.get("/v1/breakers", cursor="nonsense").faults.keys() == {"/cursor"}


def test_the_breaker_of_a_function_is_found_by_its_name(api: Api, database: Database) -> None:
    report(database, "lambda://resize", failures=FAILURES)
    assert [each["origin"] for each in listed(api, origin="lambda://resize:live")] == ["lambda://resize"]
