"""A server that is frozen while its connections stay up: the caller is told, and does not wait for ever."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

import psycopg
import pytest

from taskqueue.core.errors import StoreUnavailable
from taskqueue.store.database import Database
from tests.support.databases import PostgresServer


@pytest.mark.postgres
def test_a_frozen_server_is_an_outage_and_no_hang(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        database = Database.open(url, wait=timedelta(seconds=0.2))
        with database.read() as conn:
            driver: psycopg.Connection[object] | None = conn.connection.driver_connection
            assert driver is not None
            backend = driver.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable), database.read():
                raise AssertionError("a stopped backend cannot begin")
            assert time.monotonic() - began < 20
        finally:
            os.kill(backend, signal.SIGCONT)
        with database.read():
            pass
        database.close()
