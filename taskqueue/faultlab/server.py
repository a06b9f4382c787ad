"""What the lab does with a request: plays, receives, or shows what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from taskqueue.faultlab.answers import by_status
from taskqueue.faultlab.doors import NARROW_BYTES
from taskqueue.faultlab.invoke import Invoke
from taskqueue.faultlab.options import Options, named
from taskqueue.faultlab.plays import PLAYS, UNPLAYED
from taskqueue.faultlab.seen import Seen
from taskqueue.faultlab.stage import Play, Stage
from taskqueue.faultlab.wire import BadRequest, Peer, PeerGone, Request

MOST_CONNECTIONS = 1000
STATES = ("done", "not-done", "unknown", "down")


class Server:
    """Serves connections, whatever port they came in by."""

    def __init__(self, seen: Seen, invoke: Invoke, index: Callable[[], Any], addresses: Mapping[str, str]) -> None:
        self._seen, self._invoke, self._index = seen, invoke, index
        self._addresses = addresses  # of what no request can play, by name; known once the ports are open
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, narrow: bool = False) -> None:
        """One connection, until either side ends it. ``narrow``: a large body is still on its way when it is reset."""
        task = asyncio.current_task()
        assert task is not None, "asyncio serves each connection in a task"
        self._serving.add(task)
        peer = Peer(reader, writer)
        try:
            with suppress(PeerGone, TimeoutError, asyncio.CancelledError):
                while len(self._serving) <= MOST_CONNECTIONS:
                    await self._one(peer, narrow=narrow)
        finally:
            self._serving.discard(task)
            peer.close()

    async def close(self) -> None:
        """Cut off whatever is being played."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _one(self, peer: Peer, *, narrow: bool) -> None:
        try:
            head = await peer.head()
            play = self._by_path(head, narrow=narrow)
            if play is not None and play.unread:
                self._seen.remember(head)
                await self._play(play, head, peer)
                return
            request = replace(head, body=await peer.body(head))
            await self._answer(play, request, peer)
        except BadRequest as error:
            await peer.answer_json(
                400, {"errorType": "FaultLab", "errorMessage": str(error)}, [("Connection", "close")]
            )
            raise PeerGone from None
        if (request.header("connection") or "").lower() == "close":
            raise PeerGone

    async def _answer(self, play: Play | None, request: Request, peer: Peer) -> None:
        if request.path == "/seen":
            await self._show(request, peer)
        elif request.path == "/" and request.method == "GET":
            await peer.answer_json(200, self._index())
        else:
            self._seen.remember(request)
            if request.path == "/reconcile":
                await _reconcile(request, peer)
            elif request.path == "/webhook":
                await self._play(PLAYS["success"], request, peer, usual=204)
            elif (function := self._invoke.function(request)) is not None:
                await self._run(function, request, peer)
            else:
                await self._play(play or self._by_payload(request), request, peer)

    async def _show(self, request: Request, peer: Peer) -> None:
        if request.method == "DELETE":
            self._seen.forget()
            await peer.answer(204)
        else:
            await peer.answer_json(200, self._seen.list(request.query))

    async def _run(self, function: str, request: Request, peer: Peer) -> None:
        refusal = self._invoke.refusal(request)
        if refusal is None and named(request) is not None:
            # The query is Lambda's here, so options stand in the payload alone.
            await self._play(self._by_payload(request), replace(request, target=request.path), peer)
            return
        answer = refusal or await self._invoke.run(function, request)
        await peer.answer(answer.status, answer.body, answer.headers)

    async def _play(self, play: Play, request: Request, peer: Peer, *, usual: int | None = None) -> None:
        options = Options.of(request)
        if usual is not None and options.status is None:
            options = replace(options, status=usual)
        await asyncio.sleep(options.after)
        if not self._seen.fails(request, options.times):
            play, options = PLAYS["success"], Options()
        await play.perform(Stage(request, options, peer))

    def _by_path(self, request: Request, *, narrow: bool) -> Play | None:
        """The play that the path names; ``None`` when it names none."""
        kind, _, name = request.path.strip("/").partition("/")
        if kind == "class":
            return self._called(name, narrow=narrow)
        if kind == "status":
            return by_status(int(name) if name.isascii() and name.isdecimal() else 0)
        return None

    def _by_payload(self, request: Request) -> Play:
        name = named(request)
        return PLAYS["success"] if name is None else self._called(name)

    def _called(self, name: str, *, narrow: bool = False) -> Play:
        if name in UNPLAYED:
            raise BadRequest(f"no target can play {name}; {UNPLAYED[name]}")
        if name in PLAYS:
            if PLAYS[name].unread and not narrow:
                raise BadRequest(
                    f"{name} happens while a request is being sent; make {self._addresses[name]} the target, with a"
                    f" payload of {NARROW_BYTES // 1024} KiB or more"
                )
            return PLAYS[name]
        if name in self._addresses:
            raise BadRequest(f"{name} happens before a request is sent; make {self._addresses[name]} the target")
        raise BadRequest(f"there is no play {name[:60]!r}; GET / lists them")


async def _reconcile(request: Request, peer: Peer) -> None:
    state = request.query.get("state", "unknown")
    if state not in STATES:
        raise BadRequest(f"state is one of {', '.join(STATES)}")
    if state == "down":
        raise PeerGone
    await asyncio.sleep(Options.of(request).after)
    result = {"result": {"found": "by the fault lab"}} if state == "done" else {}
    await peer.answer_json(200, {"state": state, **result})
