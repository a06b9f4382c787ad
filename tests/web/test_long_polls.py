"""A look at a task may be held until it has ended, but neither too long nor by too many."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from taskqueue.config import Settings
from taskqueue.core.task import TaskId
from taskqueue.store import tasks
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.service import Service
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, settle_one
from tests.support.processes import wait_until
from tests.web.contract import Answer, Api


def held(service: Service, path: str, wait: str) -> Future[tuple[Answer, float]]:
    """Begin a long poll in a thread of its own; it returns the answer and how long it took."""
    # Not in that thread: Python 3.11 cannot parse in several at once, and routes are parsed.
    pool, api = ThreadPoolExecutor(1), Api(create_app(service))

    def look() -> tuple[Answer, float]:
        started = time.monotonic()
        return api.get(path, wait=wait), time.monotonic() - started

    future = pool.submit(look)
    pool.shutdown(wait=False)
    return future


def holding(service: Service, count: int) -> None:
    """Wait until ``count`` long polls are held; but for the first, only the time they take tells it from outside."""
    wait_until(lambda: not service.waiting.idle, what="a long poll")
    time.sleep(0.2 + 0.2 * count)


def test_a_look_is_held_until_the_task_has_ended(api: Api, service: Service, database: Database) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    future = held(service, path, "20s")
    holding(service, 1)
    settle_one(database, claim_one(database), answered(200))
    answer, seconds = future.result(timeout=40)
    assert answer.json["status"] == "succeeded"
    assert 0.1 < seconds < 15


def test_a_look_at_a_task_that_has_ended_is_not_held(api: Api) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    api.post(f"{path}/cancel")
    started = time.monotonic()
    assert api.get(path, wait=20).json["status"] == "cancelled"
    assert time.monotonic() - started < 15


def test_a_look_is_held_no_longer_than_was_asked(api: Api) -> None:
    path, started = f"/v1/tasks/{api.submit()['id']}", time.monotonic()
    assert api.get(path, wait="300ms").json["status"] == "queued"
    assert 0.3 <= time.monotonic() - started < 15


def test_an_unknown_task_is_not_waited_for(api: Api) -> None:
    started = time.monotonic()
    assert api.get("/v1/tasks/01a1fd2b-7e4c-73b7-9951-e4461c9bc5ed", wait=20).status == 404
    assert time.monotonic() - started < 15


def test_a_wait_beyond_the_limit_is_refused(api: Api) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    for wait in (26, -1, "1m", "true"):
        assert api.get(path, wait=wait).faults.keys() == {"/wait"}


def test_all_who_wait_for_one_task_are_answered(api: Api, service: Service, database: Database) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    futures = [held(service, path, "20s") for _ in range(2)]
    holding(service, 2)
    with database.begin() as conn:
        tasks.cancel(conn, database, "default", TaskId(UUID(path.rpartition("/")[2])))
    for future in futures:
        assert future.result(timeout=40)[0].json["status"] == "cancelled"


def test_no_more_than_a_quarter_of_the_threads_are_held(api: Api, service: Service) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    most = service.settings.api_threads // 4
    futures = [held(service, path, "5s") for _ in range(most + 3)]
    took = sorted(future.result(timeout=40)[1] for future in futures)
    assert len([seconds for seconds in took if seconds >= 5]) == most


def test_a_place_is_free_again_once_its_holder_was_answered(api: Api, service: Service) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    for _ in range(service.settings.api_threads):
        started = time.monotonic()
        api.get(path, wait="50ms")
        assert time.monotonic() - started >= 0.05


def test_a_stop_answers_everybody_who_waits(api: Api, service: Service) -> None:
    path = f"/v1/tasks/{api.submit()['id']}"
    future = held(service, path, "20s")
    holding(service, 1)
    service.wake()
    answer, seconds = future.result(timeout=40)
    assert answer.json["status"] == "queued"
    assert seconds < 15


def test_nobody_looks_at_the_database_while_nobody_waits(front_service: Service) -> None:
    waiting = front_service.waiting
    assert waiting.idle
    waiter = waiting.enter("default", TaskId(UUID(int=7)))
    assert waiter is not None
    assert not waiting.idle
    waiting.leave(waiter)
    assert waiting.idle


@pytest.mark.postgres
def test_nobody_listens_while_nobody_waits(postgres_url: str, settings: Settings) -> None:
    database = Database.open(postgres_url)
    service = Service(settings, database)
    with psycopg.connect(postgres_url, autocommit=True) as conn:

        def listening() -> bool:
            query = (
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and application_name = 'taskqueue-listener'"
            )
            found = conn.execute(query).fetchone()
            assert found is not None
            return bool(found[0])

        for _ in range(2):
            waiter = service.waiting.enter("default", TaskId(UUID(int=7)))
            assert waiter is not None
            wait_until(listening, what="a listener")
            service.waiting.leave(waiter)
            wait_until(lambda: not listening(), what="its end")
    service.close()
    database.close()
