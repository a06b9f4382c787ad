"""What the hot row remembers of a task, and what its defaults promise."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.memory import NO_MEMORY, Memory
from taskqueue.core.outcome import CLASSES, Partial
from taskqueue.core.task import WEBHOOK_QUEUE, NewTask, TaskState
from tests.core.examples import a_spec

names = st.sampled_from(sorted(CLASSES))
memories = st.builds(
    Memory,
    failures=st.dictionaries(names, st.integers(1, 10**6)),
    deferrals=st.integers(0, 10**6),
    worst_partial=st.sampled_from(Partial),
    previous=st.none() | names,
)


@given(memories)
def test_a_memory_comes_back_as_it_was(memory: Memory) -> None:
    assert Memory.decode(memory.encode()) == memory


def test_a_task_without_a_past_takes_no_room() -> None:
    assert NO_MEMORY.encode() is None
    assert Memory.decode(None) is NO_MEMORY


def test_the_largest_memory_is_still_small() -> None:
    worst = Memory(dict.fromkeys(CLASSES, 10**6), 10**6, Partial.LIKELY, "function_handled_error")
    blob = worst.encode()
    assert blob is not None
    assert len(blob) < 1000


def test_three_states_are_ends() -> None:
    assert {state.value for state in TaskState if state.ended} == {"succeeded", "dead", "cancelled"}


def test_a_bare_submission_promises_what_the_documentation_says() -> None:
    new = NewTask(spec=a_spec())
    assert (new.spec.retries, new.spec.timeout, new.spec.priority) == (3, timedelta(seconds=30), 5)
    assert (new.spec.project, new.spec.queue, new.spec.method) == ("default", "default", "POST")
    assert sorted(event.value for event in new.spec.webhook_events) == ["cancelled", "dead", "succeeded"]


def test_no_user_can_name_the_queue_of_webhooks() -> None:
    assert not WEBHOOK_QUEUE[0].isalnum()
