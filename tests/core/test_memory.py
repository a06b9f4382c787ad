"""What the hot row remembers of a task's past comes back as it was, and takes little room."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.memory import NO_MEMORY, Asking, Memory, Ruled, Streak
from taskqueue.core.outcome import CLASSES, Partial
from taskqueue.core.policy import MAX_RULES
from taskqueue.core.reason import DeadReason
from tests.core.examples import NOW

FIRST = datetime(2000, 1, 1, tzinfo=UTC)
names = st.sampled_from(sorted(CLASSES))
counts = st.integers(1, 10**6)
fingerprints = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
instants = st.integers(0, 200 * 365 * 86_400 * 10**6).map(lambda span: FIRST + timedelta(microseconds=span))
askings = st.builds(
    Asking,
    then=st.none() | st.sampled_from(DeadReason),
    failures=st.integers(0, 4),
    status=st.none() | st.integers(200, 599),
    error_type=st.none() | st.text(max_size=50),
    fingerprint=st.none() | fingerprints,
)
memories = st.builds(
    Memory,
    failures=st.dictionaries(names, counts),
    deferrals=st.integers(0, 10**6),
    worst_partial=st.sampled_from(Partial),
    previous=st.none() | names,
    ruled=st.dictionaries(st.integers(0, MAX_RULES - 1), st.builds(Ruled, counts, instants)),
    apart=st.integers(0, 10**6),
    lost_apart=st.integers(0, 10**6),
    streak=st.none() | st.builds(Streak, fingerprints, counts),
    asking=st.none() | askings,
)


@given(memories)
def test_a_memory_comes_back_as_it_was(memory: Memory) -> None:
    assert Memory.decode(memory.encode()) == memory


def test_a_task_without_a_past_takes_no_room() -> None:
    assert NO_MEMORY.encode() is None
    assert Memory.decode(None) is NO_MEMORY


def test_a_memory_of_a_version_without_policies_is_understood() -> None:
    old = b'{"f":{"timeout":2},"d":0,"w":2,"p":"timeout"}'
    assert Memory.decode(old) == Memory({"timeout": 2}, 0, Partial.LIKELY, "timeout")


def test_what_did_not_happen_is_not_written_down() -> None:
    blob = Memory({"timeout": 1}, previous="timeout").encode()
    assert blob is not None
    assert set(json.loads(blob)) == {"f", "d", "w", "p"}


def test_the_largest_memory_is_still_small() -> None:
    worst = Memory(
        failures=dict.fromkeys(CLASSES, 10**6),
        deferrals=10**6,
        worst_partial=Partial.LIKELY,
        previous="function_handled_error",
        ruled={index: Ruled(10**6, NOW) for index in range(MAX_RULES)},
        apart=10**6,
        lost_apart=10**6,
        streak=Streak("0" * 16, 10**6),
        asking=Asking(DeadReason.UNCERTAIN, 4, 599, "x" * 200, "0" * 16),
    )
    blob = worst.encode()
    assert blob is not None
    assert len(blob) < 2500


def test_to_ask_changes_nothing_else() -> None:
    memory = Memory({"timeout": 1}, previous="timeout")
    asking = memory.asks(Asking(DeadReason.EXHAUSTED))
    assert asking.asking == Asking(DeadReason.EXHAUSTED)
    assert asking.asks(None) == memory
