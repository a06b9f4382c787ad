"""Planted faults in the tables of the core: run as a program, this prints those that the tests of the core let pass.

Each fault is planted in a process of its own, forked once the tests are collected, and meets those tests first whose
names speak of it: so a hundred faults take seconds.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, MutableMapping
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskqueue.core.lifecycle import TRANSITIONS
from taskqueue.core.outcome import CLASSES, Charge, Compensation, Partial, Wait
from taskqueue.core.policy import PRESETS, Rule
from taskqueue.core.retry import SLOW
from taskqueue.core.task import TaskState

HERE = Path(__file__).parent
TESTS = [str(HERE / name) for name in ("test_lifecycle.py", "test_outcome_table.py", "test_policy.py")]
# One of each kind: refused, bounded, risky, free, free on a condition, lost; and two of Lambda and verdicts.
ROWS = ("bad_request", "conflict", "gateway_timeout", "throttled", "unavailable", "worker_lost")
ROWS += ("function_out_of_memory", "verdict_defer")
OTHER = {
    Charge.YES: Charge.FREE,
    Charge.FREE: Charge.YES,
    Charge.FREE_WITH_RETRY_AFTER: Charge.YES,
    Charge.LOST: Charge.YES,
    Partial.NO: Partial.POSSIBLE,
    Partial.POSSIBLE: Partial.LIKELY,
    Partial.LIKELY: Partial.NO,
    Compensation.NO: Compensation.DEPENDS,
    Compensation.DEPENDS: Compensation.YES,
    Compensation.YES: Compensation.CHECK,
    Wait.NORMAL: Wait.SLOW,
    Wait.SLOW: Wait.NORMAL,
    Wait.NOW: Wait.NORMAL,
}
# A class that is refused or due at once has no use for these: changing them changes nothing.
IDLE = {("bad_request", "max_retries"), ("bad_request", "wait"), ("bad_request", "honours_retry_after")}
IDLE |= {("worker_lost", "max_retries"), ("worker_lost", "honours_retry_after"), ("throttled", "max_retries")}
IDLE |= {("verdict_defer", "max_retries")}


class Mutation(NamedTuple):
    """One entry of one table with another value."""

    table: MutableMapping[Any, Any]
    key: Any
    value: Any
    name: str


def mutations() -> Iterator[Mutation]:
    """Every arrow of the lifecycle, drawn or rubbed out; fields of some classes and all rules with another value."""
    for state in TaskState:
        for following in TaskState:
            flipped = TRANSITIONS[state] ^ {following}
            yield Mutation(_writable(TRANSITIONS), state, flipped, f"{state} -> {following}")
    for name in ROWS:
        row = CLASSES[name]
        for field in fields(row):
            if field.name not in ("name", "meaning") and (name, field.name) not in IDLE:
                value = _other(getattr(row, field.name))
                mutated = replace(row, **{field.name: value})
                yield Mutation(_writable(CLASSES), name, mutated, f"{name}.{field.name} = {value}")
    for name, rules in PRESETS.items():
        for index, rule in enumerate(rules):
            for what, mutated in _other_rules(rule):
                changed = (*rules[:index], mutated, *rules[index + 1 :])
                yield Mutation(_writable(PRESETS), name, changed, f"{name.replace('-', '_')}[{index}]: {what}")


class Planter:
    """Instead of running the collected tests once, runs them with each fault and notes which faults they let pass."""

    def __init__(self) -> None:
        self.planted: list[str] = []
        self.survived: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for mutation in mutations():
            self.planted.append(mutation.name)
            if _survives(mutation, session):
                self.survived.append(mutation.name)
        return True


def _survives(mutation: Mutation, session: pytest.Session) -> bool:
    """True when the tests pass although the fault is there."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    mutation.table[mutation.key] = mutation.value
    words = set(re.findall(r"[a-z_]+", mutation.name))
    for item in sorted(session.items, key=lambda item: -len(words & set(re.findall(r"[a-z_]+", item.name)))):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if session.testsfailed:
            os._exit(1)
    os._exit(0)


def _other(value: Any) -> Any:
    if isinstance(value, Enum):
        return OTHER[value]  # type: ignore[index]
    if isinstance(value, bool):
        return not value
    return 2 if value is None else value - 1


def _other_rules(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """``rule`` with one thing changed, each with its name."""
    for pattern in rule.match:
        yield f"without {pattern}", replace(rule, match=tuple(each for each in rule.match if each != pattern))
    yield "other retries", replace(rule, retries=1 if rule.retries is None else rule.retries + 1)
    yield "other charge", replace(rule, charge=not rule.charge)
    if rule.retries != 0:
        yield "other backoff", replace(rule, backoff=SLOW if rule.backoff is None else None)
    if rule.within is not None:
        yield "other patience", replace(rule, within=2 * rule.within)


def _writable(table: Any) -> MutableMapping[Any, Any]:
    assert isinstance(table, dict)
    return table


if __name__ == "__main__":
    planter = Planter()
    pytest.main(["-qq", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS], [planter])
    print(f"\n{len(planter.planted)} planted, {len(planter.survived)} survived: {'; '.join(planter.survived)}")
    sys.exit(not planter.planted or bool(planter.survived))
