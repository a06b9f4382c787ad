"""A target and webhook receiver as a process of its own: the payload says how to answer, every request goes on record.

Run as ``python sink.py LOG``; prints its port. The record is one JSON line per request, written before the answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TextIO

HOOKS = ("/hook", "/api/on-complete")
Headers = dict[str, str]
_FUNCTION_FAILED = b"X-Amz-Function-Error: Unhandled\r\n"


class Sink:
    """Answers work as the payload's ``ending`` says, and everything under ``HOOKS`` with 204."""

    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._hits: Counter[str] = Counter()
        self._endings: dict[str, Callable[[str, asyncio.StreamWriter], Awaitable[None]]] = {
            "succeed": self._succeed,
            "fail_twice": self._fail_twice,
            "fail": self._fail,
            "reject": self._reject,
            "hang": self._hang,
            "drip": self._drip,
            "reset": self._reset,
            "function_error": self._function_error,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive until the peer or an ending closes it."""
        try:
            while True:
                path, headers, body = await _read(reader)
                await self._answer(path, headers, body, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, headers: Headers, body: bytes, writer: asyncio.StreamWriter) -> None:
        line = {"at": time.time(), "path": path, "headers": headers, "body": base64.b64encode(body).decode()}
        print(json.dumps(line), file=self._log, flush=True)
        if path in HOOKS:
            await _send(writer, "204 No Content")
            return
        task_id = headers["taskqueue-task-id"]
        self._hits[task_id] += 1
        await self._endings[json.loads(body).get("ending", "succeed")](task_id, writer)

    async def _succeed(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, "200 OK", body=b'{"done": true}')

    async def _fail_twice(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        await (self._succeed if self._hits[task_id] > 2 else self._fail)(task_id, writer)

    async def _fail(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, "500 Internal Server Error", body=b"broken")

    async def _reject(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, "400 Bad Request", body=b"no such account")

    async def _hang(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def _drip(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def _reset(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        raise ConnectionResetError

    async def _function_error(self, task_id: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, "200 OK", more=_FUNCTION_FAILED, body=b'{"errorMessage": "division by zero"}')


async def _read(reader: asyncio.StreamReader) -> tuple[str, Headers, bytes]:
    """Path, headers (lower case) and body of the next request; IncompleteReadError at the end."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return first.split(" ")[1], headers, body


async def _send(writer: asyncio.StreamWriter, status: str, *, more: bytes = b"", body: bytes = b"") -> None:
    length = b"" if status.startswith("204") else b"Content-Length: %d\r\n" % len(body)
    writer.write(b"HTTP/1.1 %s\r\n%s%s\r\n%s" % (status.encode(), more, length, body))
    await writer.drain()


async def main(log: TextIO) -> None:
    server = await asyncio.start_server(Sink(log).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with open(sys.argv[1], "a") as record:
        asyncio.run(main(record))
