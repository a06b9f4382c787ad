"""Clients that are closed when their test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskqueue.client import TaskQueue
from tests.client.peer import Peer


@pytest.fixture
def client_of() -> Iterator[Callable[..., TaskQueue]]:
    """Make a client of a peer."""
    made: list[TaskQueue] = []

    def make(peer: Peer, api_key: str = "tq_secret", **settings: Any) -> TaskQueue:
        made.append(TaskQueue(peer.url, api_key, **settings))
        return made[-1]

    yield make
    for queue in made:
        queue.close()
