"""Writing settlements so that no single one can keep the others, or itself, from being written for ever."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from taskqueue.core.errors import StoreUnavailable
from taskqueue.core.lifecycle import decide
from taskqueue.core.outcome import Outcome, Response, failed
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import TaskId
from taskqueue.core.terms import Limits
from taskqueue.store import leases
from taskqueue.store.database import Database

_NOT_RECORDED = "the outcome could not be recorded as it was; the worker's log says why"


@dataclass(slots=True)
class Written:
    """What became of a batch of settlements."""

    settled: list[Settlement] = field(default_factory=list)  # written, in the form that was
    stale: set[TaskId] = field(default_factory=set)  # their lease was void: nothing was written
    refused: list[tuple[TaskId, Exception]] = field(default_factory=list)  # no form of theirs could be written
    plainer: list[tuple[TaskId, Exception]] = field(default_factory=list)  # written, but not as they were


def write(database: Database, settlements: Sequence[Settlement], *, limits: Limits) -> Written:
    """Settle all in one transaction or, where that fails, each on its own. On ``StoreUnavailable`` try again."""
    try:
        with database.begin() as conn:
            stale = leases.settle(conn, database, settlements)
    except StoreUnavailable:
        raise
    except Exception:
        written = Written()
        for settlement in settlements:
            try:
                _write_one(database, settlement, written, limits=limits)
            except StoreUnavailable:
                raise
            except Exception as error:
                written.refused.append((settlement.task.id, error))
        return written
    return Written(settled=[each for each in settlements if each.task.id not in stale], stale=stale)


def _write_one(database: Database, settlement: Settlement, written: Written, *, limits: Limits) -> None:
    """Try one form after the other; raise the last error if none could be written."""
    errors: list[Exception] = []
    for form in _forms(settlement, limits):
        try:
            with database.begin() as conn:
                stale = leases.settle(conn, database, [form])
        except StoreUnavailable:
            raise
        except Exception as error:
            errors.append(error)
        else:
            written.stale |= stale
            if not stale:
                written.settled.append(form)
            if errors:
                written.plainer.append((settlement.task.id, errors[0]))
            return
    raise errors[-1]


def _forms(settlement: Settlement, limits: Limits) -> Iterator[Settlement]:
    """The settlement as it is; without anything a peer sent; and as a failure of our own with fixed text."""
    yield settlement
    attempt = settlement.attempt
    if attempt is None:
        return
    yield replace(settlement, attempt=replace(attempt, outcome=_bare(attempt.outcome)))
    if attempt.outcome.cls.name != "worker_lost":  # of a lapsed lease: only that class is written if it is lapsed still
        ours = failed("local_resource", "SettleFailed", _NOT_RECORDED, phase=attempt.outcome.phase)
        yield decide(settlement.task, ours, now=attempt.finished_at, jitter=random.random(), limits=limits)  # noqa: S311


def _bare(outcome: Outcome) -> Outcome:
    response = outcome.response and Response(status=outcome.response.status, truncated=True)
    message = None if outcome.cls.name == "success" else _NOT_RECORDED
    return replace(outcome, response=response, error_type=None, error_message=message, stack=())
