"""What the states of a task mean, and what its defaults promise."""

from __future__ import annotations

from datetime import timedelta

from taskqueue.core.policy import NO_POLICY, OnLost
from taskqueue.core.task import WEBHOOK_QUEUE, NewTask, TaskState
from tests.core.examples import a_spec


def test_three_states_are_ends() -> None:
    assert {state.value for state in TaskState if state.ended} == {"succeeded", "dead", "cancelled"}


def test_a_bare_submission_promises_what_the_documentation_says() -> None:
    new = NewTask(spec=a_spec())
    assert (new.spec.retries, new.spec.timeout, new.spec.priority) == (3, timedelta(seconds=30), 5)
    assert (new.spec.project, new.spec.queue, new.spec.method) == ("default", "default", "POST")
    assert sorted(event.value for event in new.spec.webhook_events) == ["cancelled", "dead", "succeeded"]


def test_no_user_can_name_the_queue_of_webhooks() -> None:
    assert not WEBHOOK_QUEUE[0].isalnum()


def test_a_bare_submission_leaves_every_failure_to_the_table() -> None:
    spec = a_spec()
    assert (spec.policy, spec.backoff) == (NO_POLICY, None)
    assert spec.policy.poison_after is None
    assert (spec.policy.on_lost, spec.policy.reconcile) == (OnLost.RETRY, None)
    assert (spec.on_failure, spec.on_success, spec.parent_id, spec.root_id) == (None, None, None, None)
