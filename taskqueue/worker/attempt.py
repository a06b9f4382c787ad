"""One attempt: deliver, decide, settle. Whatever happens on the way, the task does not stay in ``running``."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TypedDict

from taskqueue import telemetry
from taskqueue.core.breaker import sign_of
from taskqueue.core.errors import InvalidTarget
from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome, Phase, Sign, failed
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import AttemptId, TaskId
from taskqueue.core.terms import Limits
from taskqueue.core.verdict import judge
from taskqueue.delivery.http import Transport
from taskqueue.delivery.lambda_transport import LambdaTransport
from taskqueue.telemetry import Event
from taskqueue.worker.breakers import Breakers
from taskqueue.worker.held import Cut, Held
from taskqueue.worker.requests import asks, origin_called, request_for
from taskqueue.worker.settler import Settler
from taskqueue.worker.signing import SigningSecrets
from taskqueue.worker.slots import Slots

_GIVEN_BACK = {
    Cut.DRAINED: ("released", "the worker stopped before it had sent the request"),
    Cut.UNSTARTED: ("released", "the worker had no slot for it after all"),
}
_INTERRUPTED = ("interrupted", "the worker stopped while the request was on its way or waiting for its answer")

_QUICKLY_READ = 32 * 1024  # bytes of a body that is read on the loop


class _Ids(TypedDict):
    task_id: TaskId
    attempt_id: AttemptId


class Attempts:
    """Carries claimed tasks to their settlement."""

    def __init__(
        self,
        transport: Transport,
        functions: LambdaTransport,
        settler: Settler,
        slots: Slots,
        secrets: SigningSecrets,
        breakers: Breakers,
        *,
        limits: Limits,
    ) -> None:
        self._transport, self._functions = transport, functions
        self._settler, self._slots, self._secrets, self._limits = settler, slots, secrets, limits
        self._breakers = breakers
        self._reading = asyncio.Lock()

    async def make(self, held: Held) -> None:
        """Deliver, decide and settle; let go of the task in any case."""
        try:
            outcome = await self._outcome(held)
            if outcome is not None:
                called, (outcome, settlement) = outcome, await self._concluded(held, outcome)
                await self._mark(held, called, outcome)
                if await self._settler.settle(settlement):
                    _tell(held, outcome, settlement)
        except Exception as error:  # the lease lapses, and reclaim settles what could not be settled here
            telemetry.exception(Event.ATTEMPT_FAULT, error, **_ids(held))
        finally:
            self._slots.release(held)

    async def _outcome(self, held: Held) -> Outcome | None:
        """How the attempt ended; ``None`` when its lease is, or may be, somebody else's: then nothing is written."""
        try:
            if held.fenced:
                held.cut(Cut.FENCED)
            if held.cut_for is None:
                held.delivery = asyncio.current_task()
                try:
                    outcome = await self._deliver(held)
                finally:
                    held.delivery = None
                _tell_trouble(held)
                return outcome
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if held.cut_for is None or current is None:
                raise
            current.uncancel()
        except InvalidTarget as error:  # taken at its submit, but the rules have become stricter
            return failed("target_forbidden", "InvalidTarget", error.detail)
        except Exception as error:
            return _surprise(held, error)
        return self._cut(held)

    async def _deliver(self, held: Held) -> Outcome:
        task = held.task
        await self._slots.enter(held)
        try:
            request = request_for(task, held.lease, secrets=self._secrets.of(task.spec.project), now=held.now())
            transport = self._transport if request.target.lambda_function is None else self._functions
            return await transport.deliver(request, held.trace)
        finally:
            self._slots.leave(held)

    def _cut(self, held: Held) -> Outcome | None:
        phase = held.trace.phase
        why = held.cut_for.value if held.cut_for else None
        telemetry.info(Event.ATTEMPT_CUT, **_ids(held), why=why, phase=phase.label)
        if held.cut_for in _GIVEN_BACK:
            name, message = _GIVEN_BACK[held.cut_for] if phase < Phase.SENDING else _INTERRUPTED
            return replace(
                failed(name, "Drained", message, phase=phase),
                timings=held.trace.timings(),
                bytes_sent=held.trace.bytes_sent,
                bytes_received=held.trace.bytes_received,
            )
        if held.cut_for is Cut.STALE:
            self._settler.let_go(held.lease)
        return None

    async def _concluded(self, held: Held, outcome: Outcome) -> tuple[Outcome, Settlement]:
        if outcome.response is None or len(outcome.response.body) <= _QUICKLY_READ:
            return self._conclude(held, outcome)
        # Reading a large body takes tens of milliseconds. One at a time, so that the loop gets its turn in between:
        # others have deadlines to keep.
        async with self._reading:
            return await asyncio.to_thread(self._conclude, held, outcome)

    def _conclude(self, held: Held, outcome: Outcome) -> tuple[Outcome, Settlement]:
        judged = _judged(held, outcome)
        return judged, self._decide(held, judged)

    def _decide(self, held: Held, outcome: Outcome) -> Settlement:
        jitter = random.random()  # noqa: S311 - spreads load
        try:
            return _trimmed(decide(held.task, outcome, now=held.now(), jitter=jitter, limits=self._limits))
        except Exception as error:
            return decide(held.task, _surprise(held, error), now=held.now(), jitter=jitter, limits=self._limits)

    async def _mark(self, held: Held, outcome: Outcome, judged: Outcome) -> None:
        """Before the settlement, which makes room for the next attempt on the same host."""
        sign = sign_of(outcome, judged=judged)
        if sign is not Sign.NOTHING:
            started_at = held.task.started_at
            assert started_at is not None, "a claimed task has started"
            await self._breakers.mark(held.task.spec.project, origin_called(held.task), sign, started_at=started_at)


def _judged(held: Held, outcome: Outcome) -> Outcome:
    """``outcome`` as the caller's verdicts have it; they are about the target, not about whoever is asked."""
    verdicts = held.task.spec.policy.verdicts
    if not verdicts or asks(held.task):
        return outcome
    try:
        return judge(outcome, verdicts)
    except Exception as error:  # then the table decides: as a fault of ours, what was done would be done again
        telemetry.exception(Event.ATTEMPT_FAULT, error, **_ids(held))
        return outcome


def _trimmed(settlement: Settlement) -> Settlement:
    """Without what was only kept to decide by."""
    attempt = settlement.attempt
    if attempt is None or (outcome := attempt.outcome.trimmed()) is attempt.outcome:
        return settlement
    return replace(settlement, attempt=replace(attempt, outcome=outcome))


def _surprise(held: Held, error: Exception) -> Outcome:
    telemetry.exception(Event.ATTEMPT_FAULT, error, **_ids(held))
    message = "the worker could not make this attempt; its log says why"
    return failed("local_resource", type(error).__name__, message, phase=held.trace.phase)


def _tell_trouble(held: Held) -> None:
    """What goes into the log and on no record: a forbidden address, a fault of ours inside the transport."""
    trace = held.trace
    if trace.forbidden is not None:
        host, address = trace.forbidden.host, trace.forbidden.address
        telemetry.warning(Event.TARGET_FORBIDDEN, **_ids(held), host=host, address=address)
    if trace.surprise is not None:
        telemetry.exception(Event.ATTEMPT_FAULT, trace.surprise, **_ids(held))


def _tell(held: Held, outcome: Outcome, settlement: Settlement) -> None:
    telemetry.debug(Event.ATTEMPT_SETTLED, **_ids(held), outcome=outcome.cls.name, state=settlement.state.value)


def _ids(held: Held) -> _Ids:
    return {"task_id": held.task.id, "attempt_id": held.lease.attempt_id}
