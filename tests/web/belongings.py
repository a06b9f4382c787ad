"""A project with one of everything, each by a name or id that can be looked for in what others are answered."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from taskqueue.core.breaker import Mark
from taskqueue.store import operations, origins
from taskqueue.store.database import Database
from taskqueue.store.schema import metadata
from taskqueue.web.app import create_app
from tests.support.builders import answer, claim_one, settle_one
from tests.web.contract import Api
from tests.web.keys import asking, make_project

OURS = "ours"
QUEUE, FLOW_KEY, ORDER, LABEL, KEY = "s3cret-queue", "s3cret-flow", "s3cret-order", "s3cret-label", "s3cret-key"
HOST = "s3cret.example"
URL, ORIGIN = f"https://{HOST}/work", f"https://{HOST}:443"
FIELDS = {"targetUrl": URL, "queue": QUEUE, "flowKey": FLOW_KEY, "labels": [LABEL]}
WAITING = {**FIELDS, "delay": "1h", "idempotencyKey": KEY}
_FAILURES = 20


@dataclass(frozen=True, slots=True)
class Belongings:
    """The key of a project, what it has, by id, and where a page of its tasks ended."""

    key: str
    ids: dict[str, str]
    cursor: str


def belongings(database: Database) -> Belongings:
    """The project ``ours``, filled; nothing writes to it afterwards."""
    key = make_project(database, OURS)
    with asking(database) as service:
        api = Api(create_app(service), key=key.text)
        assert api.put(f"/v1/queues/{QUEUE}", {"onDeath": "block", "defaults": {"retries": 7}}).status == 200
        assert api.put(f"/v1/flow-keys/{FLOW_KEY}", {"concurrency": 5}).status == 200
        dead = api.submit(**FIELDS, orderingKey=ORDER, webhookUrl=f"https://{HOST}/hook")
        settle_one(database, claim_one(database), answer(400))
        webhook = claim_one(database)
        held = api.submit(**FIELDS, orderingKey=ORDER)
        waiting = api.submit(**WAITING)
        (letter,) = api.get("/v1/dead-letters").json["items"]
        operation = api.post("/v1/dead-letters/redrive", {"queue": "s3cret-none"}).json
        _report_failures(database)
        advance(database)
        cursor = api.get("/v1/tasks", limit=1).json["nextCursor"]
    ids = {"dead": dead["id"], "webhook": str(webhook.id), "held": held["id"], "waiting": waiting["id"]}
    ids |= {"letter": letter["id"], "operation": operation["id"], "api key": str(key.key.id)}
    return Belongings(key.text, ids, cursor)


def advance(database: Database) -> None:
    """Carry on what bulk work there is to its end."""
    for _ in range(20):
        with database.begin() as conn:
            operations.advance(conn, database)


def rows_of(database: Database, project: str) -> dict[str, list[str]]:
    """Every row of the project, in every table."""
    with database.read() as conn:
        return {
            table.name: sorted(
                repr(tuple(row)) for row in conn.execute(select(table).where(table.c.project == project))
            )
            for table in metadata.sorted_tables
        }


def _report_failures(database: Database) -> None:
    with database.begin() as conn:
        marks = [Mark(database.now(conn), True)] * _FAILURES
        origins.report(conn, database, {(OURS, ORIGIN): marks}, jitter=0)
