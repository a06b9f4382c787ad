"""A process that puts load on a server: each line it reads is what to send, each line it prints how that went."""

from __future__ import annotations

import asyncio
import json
import sys
from subprocess import Popen

import uvloop

from bench.children import tell, told
from bench.client import exchange, post


def put_load(
    process: Popen[str], *, port: int, path: str, body: bytes, connections: int, count: int
) -> tuple[float, list[float]]:
    """Have the process send ``body`` ``count`` times; return the seconds that took, and each request's own."""
    asked = {"port": port, "path": path, "body": body.decode(), "connections": connections, "count": count}
    tell(process, json.dumps(asked))
    answer = json.loads(told(process))
    return answer["seconds"], answer["latencies"]


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            asked = json.loads(line)
            message = post(asked["port"], asked["path"], asked["body"].encode())
            seconds, latencies = runner.run(
                exchange(asked["port"], message=message, connections=asked["connections"], count=asked["count"])
            )
            print(json.dumps({"seconds": seconds, "latencies": latencies}), flush=True)


if __name__ == "__main__":
    main()
