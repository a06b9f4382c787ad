"""Breakers over HTTP: which origins are held back, since when, and how to let them go."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypedDict
from urllib.parse import urlencode

from msgspec import UNSET, UnsetType

from taskqueue import telemetry
from taskqueue.core.breaker import Breaker, BreakerState, room, state_at
from taskqueue.core.shown import rfc3339
from taskqueue.core.target import parse_target
from taskqueue.store import origins
from taskqueue.telemetry import Event
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.fields import about
from taskqueue.web.kinds import Cursor, Limit, Url
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import NOT_FOUND, Problem
from taskqueue.web.reading import Model, either
from taskqueue.web.service import Service

_TAG = "breakers"
_HELD_BACK = (BreakerState.OPEN, BreakerState.PROBING, BreakerState.SLOW)


class FindBreakers(Model):
    """Which breakers to list; without a state or an origin, all that are not closed."""

    state: Annotated[Literal["open", "probing", "slow", "closed"], about("In this state now")] | UnsetType = UNSET
    origin: Annotated[Url, about("Of this origin, or of the origin of this URL")] | UnsetType = UNSET
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 50


class ResetBreaker(Model):
    """Which breaker to close."""

    origin: Annotated[Url, about("As it is listed, or any URL of that origin")]


class BreakerAnswer(TypedDict):
    """What is held against an origin."""

    origin: str
    state: Literal["open", "probing", "slow", "closed"]
    since: str
    openUntil: str | None  # when the next call may find out whether it is back
    allowed: int | None  # calls that may be in flight at once; null: any number
    trips: int  # openings, each soon after the one before
    failures: int  # of the calls
    calls: int  # of the last minute or two; of an open one, those that opened it
    links: dict[str, str]


class Breakers(TypedDict):
    """Some of the breakers that were asked for."""

    items: list[BreakerAnswer]
    nextCursor: str | None


@operation(
    "GET",
    "/v1/breakers",
    summary="Find the origins that are held back",
    tag=_TAG,
    scope=Scope.READ,
    query=FindBreakers,
    answers={200: Answer("One page of breakers, by origin", Breakers)},
)
def find_breakers(service: Service, call: Call) -> Reply:
    """Those of your own tasks and webhooks; an origin that did not fail lately has none. While one is open its tasks
    wait, and use up no attempt."""
    asked = call.query(FindBreakers)
    origin = None if asked.origin is UNSET else _origin(asked.origin, asked.at("origin"))
    with service.database.read() as conn:
        now = service.database.now(conn)
        page = origins.search(
            conn,
            call.caller.project,
            states=_states(asked),
            origin=origin,
            cursor=either(asked.cursor, None),
            limit=asked.limit,
            now=now,
        )
    items = [_answer(breaker, now=now) for breaker in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@operation(
    "POST",
    "/v1/breakers/reset",
    summary="Close a breaker by hand",
    tag=_TAG,
    scope=Scope.MANAGE,
    body=ResetBreaker,
    body_required=True,
    answers={200: Answer("The breaker, closed", BreakerAnswer)},
    problems=(NOT_FOUND,),
)
def reset_breaker(service: Service, call: Call) -> Reply:
    """What waits for the origin may start at once. If it still fails, its breaker opens again, and for longer."""
    asked, project = call.body(ResetBreaker), call.caller.project
    origin = _origin(asked.origin, asked.at("origin"))
    with service.database.begin() as conn:
        noted = origins.reset(conn, service.database, project, origin)
        now = service.database.now(conn)
    if noted is None:
        raise Problem(NOT_FOUND, "this origin has no breaker: nothing is held against it, and its tasks do not wait")
    telemetry.info(Event.BREAKER_CLOSED, project=project, origin=origin, why="by hand")
    return Reply(200, _answer(noted.after, now=now))


OPERATIONS = (find_breakers, reset_breaker)


def _states(asked: FindBreakers) -> tuple[BreakerState, ...]:
    if asked.state is not UNSET:
        return (BreakerState(asked.state),)
    return _HELD_BACK if asked.origin is UNSET else tuple(BreakerState)


def _origin(url: str, pointer: str) -> str:
    return parse_target(url, pointer=pointer, functions=True).origin


def _answer(breaker: Breaker, *, now: datetime) -> BreakerAnswer:
    state = state_at(breaker, now)
    probing = state is BreakerState.PROBING
    return {
        "origin": breaker.origin,
        "state": state.value,
        "since": rfc3339(breaker.open_until if probing and breaker.open_until else breaker.changed_at),
        "openUntil": rfc3339(breaker.open_until) if breaker.open_until else None,
        "allowed": room(breaker, now),
        "trips": breaker.trips,
        "failures": breaker.failures + breaker.former_failures,
        "calls": breaker.calls + breaker.former_calls,
        "links": {"self": f"/v1/breakers?{urlencode({'origin': breaker.origin})}"},
    }
