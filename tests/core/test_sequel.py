"""What the end of a task sets off: told before, and told after."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from taskqueue.core.task import FollowUp, NewTask, TaskId, WebhookEvent
from tests.core.examples import HOOKED, TASK_ID, a_spec, answered, decided, queued, running
from tests.core.test_explain import OTHER, after_settlement, explained


def test_a_living_task_says_what_its_ending_sets_off() -> None:
    undo = NewTask(spec=a_spec(target_url="https://caller.example/undo"))
    follow_ups = {
        "on_failure": FollowUp(task=undo, match=("partial:likely", "timeout")),
        "on_success": FollowUp(task=undo),
    }
    told = explained(queued(**HOOKED, **follow_ups))
    assert told["onSuccess"] == [
        "a webhook tells https://caller.example/hook",
        "a task for https://caller.example/undo is submitted",
    ]
    assert told["onDeath"] == [
        "a webhook tells https://caller.example/hook",
        "a task for https://caller.example/undo is submitted, if it matches partial:likely or timeout",
        "a dead letter is kept, from which the task can be redriven",
    ]
    assert explained(queued())["onSuccess"] == []
    quiet = queued(webhook_url="https://caller.example/hook", webhook_events=frozenset({WebhookEvent.CANCELLED}))
    assert explained(quiet)["onSuccess"] == []
    over = explained(after_settlement(decided(running(**HOOKED), answered(200))))
    assert (over["onSuccess"], over["onDeath"]) == ([], [])


def test_a_task_that_has_ended_says_what_it_has_set_off() -> None:
    undo = NewTask(spec=a_spec(target_url="https://caller.example/undo"))
    spec = a_spec(on_failure=FollowUp(task=undo, match=("timeout", "partial:likely")), on_success=FollowUp(task=undo))
    done = after_settlement(decided(running(spec=spec), answered(200)))
    stranger, other = queued(), queued(spec=replace(undo.spec, parent_id=OTHER))
    child = replace(queued(spec=replace(undo.spec, parent_id=TASK_ID)), id=TaskId(UUID(int=4)))
    assert explained(done, chain=(done, child, stranger, other))["followedBy"] == [
        f"task {child.id} for https://caller.example/undo was submitted (onSuccess)"
    ]
    assert "no longer kept" in explained(done)["followedBy"][0]
    dead = after_settlement(decided(running(spec=spec), answered(400)))
    assert explained(dead)["followedBy"] == [
        "no task was submitted (onFailure): this death does not match timeout or partial:likely"
    ]
    assert explained(dead, compensation_id=OTHER)["followedBy"] == [
        f"task {OTHER} for https://caller.example/undo was submitted (onFailure)"
    ]
    assert explained(replace(dead, dead_letter_id=None))["followedBy"] == []
    assert explained(after_settlement(decided(running(), answered(400))))["followedBy"] == []
