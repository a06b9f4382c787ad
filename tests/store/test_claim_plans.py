"""The claim on PostgreSQL under every plan a server may choose, wise or not: never more than asked for, never twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
from psycopg import sql

from taskqueue.store.database import Database
from tests.store.limits import fill, ids
from tests.store.steps import drain
from tests.store.threads import at_once, results
from tests.support.builders import claim_all

pytestmark = pytest.mark.postgres
SWITCHES = ("seqscan", "indexscan", "bitmapscan", "indexonlyscan", "nestloop", "hashjoin", "sort", "tidscan")
SOME_OFF = [(), *((switch,) for switch in SWITCHES), ("indexscan", "bitmapscan"), SWITCHES]


@pytest.mark.parametrize("off", SOME_OFF, ids="+".join)
@pytest.mark.parametrize("mode", ["auto", "force_generic_plan"])
def test_no_plan_makes_a_claim_take_more_or_twice(postgres_url: str, off: tuple[str, ...], mode: str) -> None:
    settings = {f"enable_{switch}": "off" for switch in off} | {"plan_cache_mode": mode}
    with planner(postgres_url, settings) as database:
        everything = ids(fill(database, 120))
        calls = [partial(drain, database, limit=5, worker=f"w{number}") for number in range(4)]
        taken = [task for each in results(at_once(calls)) for task in each]
        taken += drain(database, limit=5, worker="last")
        assert Counter(task.id for task in taken) == Counter(everything)


def test_stale_statistics_make_a_claim_neither_more_nor_double(postgres_url: str) -> None:
    with planner(postgres_url, {"plan_cache_mode": "force_generic_plan"}) as database:
        analyze(postgres_url)  # "there are no rows at all"
        everything = ids(fill(database, 2000))
        claimed = claim_all(database, limit=700)
        assert len(claimed) == 700
        analyze(postgres_url)  # "there are thousands", and soon there are none
        claimed += drain(database, limit=700, worker="last")
        assert Counter(task.id for task in claimed) == Counter(everything)


@contextmanager
def planner(url: str, settings: dict[str, str]) -> Iterator[Database]:
    """The store on an empty database whose sessions plan by ``settings``, as far as the store leaves it to them."""
    with psycopg.connect(url, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        for setting, value in settings.items():
            statement = sql.SQL("alter database {} set {} = {}")
            conn.execute(statement.format(name, sql.Identifier(setting), sql.Literal(value)))
        database = Database.open(url)
        try:
            yield database
        finally:
            database.close()
            conn.execute(sql.SQL("alter database {} reset all").format(name))


def analyze(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("vacuum (analyze) ready")
