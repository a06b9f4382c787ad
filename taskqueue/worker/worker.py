"""A whole worker on one event loop: claims, attempts, heartbeat, chores, and how they end together."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from taskqueue import telemetry
from taskqueue.config import Settings
from taskqueue.core.target import AllowedTargets
from taskqueue.core.terms import Limits
from taskqueue.delivery.http import Transport
from taskqueue.delivery.lambda_keys import KeyRing, aws_keys
from taskqueue.delivery.lambda_transport import LambdaTransport
from taskqueue.delivery.tls import tls_context
from taskqueue.store.database import Database
from taskqueue.telemetry import Event
from taskqueue.worker.attempt import Attempts
from taskqueue.worker.background import Background
from taskqueue.worker.breakers import Breakers
from taskqueue.worker.chores import Chores
from taskqueue.worker.clock import ticks
from taskqueue.worker.heartbeat import Heartbeat
from taskqueue.worker.held import Cut, Held
from taskqueue.worker.loop import Loop
from taskqueue.worker.settler import Settler
from taskqueue.worker.signing import SigningSecrets
from taskqueue.worker.slots import Slots
from taskqueue.worker.wakeup import Wakeup
from taskqueue.worker.watchdog import guard, watch

_JOIN_SECONDS = 0.5  # for threads in the middle of a call; one that hangs is left behind
_LAST_SETTLE_SECONDS = 1.5  # for what the end of the grace cut short


class Worker:
    """Made on a running event loop; ``run`` works until ``drain`` is called."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._grace = settings.grace_seconds
        lease, limits = timedelta(seconds=settings.lease_seconds), Limits(lost_limit=settings.lost_limit)
        signing = SigningSecrets(database, given=settings.signing_secret)
        tls, service = tls_context(), settings.lambda_service
        self._transport = Transport(allowed=AllowedTargets.parse(settings.allowed_targets), tls=tls)
        # Apart, so that what the operator trusts for functions is open to nobody else.
        invoking = Transport(allowed=service.allowed if service else AllowedTargets(), tls=tls)
        self._functions = LambdaTransport(service, KeyRing(aws_keys()), invoking)
        self._slots = Slots(settings.concurrency)
        self._settler = Settler(database, self._slots, limits=limits)
        breakers = Breakers(database, on=settings.breaker == "on")
        self._attempts = Attempts(
            self._transport, self._functions, self._settler, self._slots, signing, breakers, limits=limits
        )
        self._heartbeat = Heartbeat(
            database,
            self._slots,
            lease=lease,
            every=timedelta(seconds=settings.extend_seconds),
            fence_margin=timedelta(seconds=settings.fence_margin_seconds),
        )
        self._loop = Loop(
            database,
            self._slots,
            signing,
            self._start,
            worker=self.id,
            lease=lease,
            heartbeat=self._heartbeat,
            batch=settings.claim_batch,
            flow_cap=settings.flow_concurrency or None,
        )
        self._wakeup = Wakeup(database, self._loop.poke)
        self._chores = Chores(
            database,
            limits=limits,
            reclaim_every=timedelta(seconds=settings.reclaim_seconds),
            keep_ended=timedelta(days=settings.task_retention_days),
            keep_dead=timedelta(days=settings.dead_letter_retention_days),
            breakers=settings.breaker == "on",
        )
        parts = (self._chores, self._wakeup, self._heartbeat, self._loop, self._settler, breakers)
        self._threads = [part.thread for part in parts]
        self._drain_asked = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def drain(self) -> None:
        """Claim nothing more, finish what is under way or give it back, then let ``run`` return."""
        self._drain_asked.set()
        self._loop.stop()

    async def run(self) -> None:
        """Work until ``drain``; returns within the grace and two seconds of it."""
        loop = asyncio.get_running_loop()
        telemetry.info(Event.WORKER_STARTED, worker=self.id)
        self._heartbeat.start(loop)
        self._wakeup.start(loop)
        self._chores.start()
        claiming = self._spawn(self._loop.run())
        vital = {
            self._spawn(watch(self._slots)),
            self._spawn(guard(self._threads)),
            self._spawn(self._settler.run()),
            claiming,
        }
        try:
            await self._until_drain(vital)
            await self._drain(claiming)
        finally:
            await self._close()

    def _start(self, held: Held) -> None:
        if self._drain_asked.is_set():  # claimed while the signal came
            held.cut(Cut.DRAINED)
        self._spawn(self._attempts.make(held))

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)  # the event loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return task

    async def _until_drain(self, vital: set[asyncio.Task[None]]) -> None:
        """Wait for ``drain``. A worker without one of its vital tasks would be silent for ever: rather it dies."""
        asked = self._spawn(self._drain_asked.wait())
        done, _ = await asyncio.wait({asked, *vital}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        for held in self._slots.waiting():
            held.cut(Cut.DRAINED)
        telemetry.info(Event.WORKER_DRAINING, worker=self.id, running=self._slots.taken, grace_seconds=self._grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                # First the claim under way: what it brings is given back at once.
                await asyncio.wait([claiming])
                await self._slots.until_empty()
        for held in self._slots.held():
            held.cut(Cut.DRAINED)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SETTLE_SECONDS):
                await self._slots.until_empty()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()
        await self._functions.close()
        # Nothing is left on this event loop that standing still could harm.
        _stop(self._threads)
        telemetry.info(Event.WORKER_STOPPED, worker=self.id, left=self._slots.taken)


def _stop(threads: Sequence[Background]) -> None:
    for thread in threads:
        thread.stop()
    deadline = ticks() + _JOIN_SECONDS
    for thread in threads:
        thread.join(deadline - ticks())
