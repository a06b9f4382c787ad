"""What every peer's program can do: queue deliveries in an empty database, and work them off until it is ended."""

from __future__ import annotations

import sys
from typing import Protocol

from bench.children import HOST, end_with_parent
from bench.work import BODY

HEADERS = {"Content-Type": "application/json"}
DONE = b'{"done": true}'  # what the sink answers; each peer looks at it, as a caller would
TEXT = BODY.decode()  # for those whose arguments are JSON


class Program(Protocol):
    """One peer, set up as its documentation advises."""

    def fill(self, url: str, count: int) -> None:
        """Make the tables in an empty PostgreSQL database and queue ``count`` deliveries, all committed."""

    def work(self, url: str, target_url: str, in_flight: int) -> None:
        """Deliver what is queued, at most ``in_flight`` at a time, until the process ends."""


def main(program: Program) -> None:
    """``fill URL COUNT`` or ``work URL PORT IN_FLIGHT``."""
    end_with_parent()
    match sys.argv[1:]:
        case ["fill", url, count]:
            program.fill(url, int(count))
        case ["work", url, port, in_flight]:
            program.work(url, f"http://{HOST}:{port}/work", int(in_flight))
        case other:
            sys.exit(f"no verb of a peer's program with its arguments: {other}")
