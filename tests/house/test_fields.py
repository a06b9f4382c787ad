"""A task's fields are written down in several places; here they are compared, so that none is forgotten."""

from __future__ import annotations

import re
from dataclasses import fields

from msgspec.structs import fields as wire_fields

from taskqueue.client import NewTask as ClientTask
from taskqueue.core.policy import Policy
from taskqueue.core.resource import TaskResource
from taskqueue.core.task import NewTask, Progress, TaskSpec
from taskqueue.store.schema import endings, ready, revisions, tasks
from taskqueue.web.models import FollowUpTask, SubmitTask

SPEC = {field.name for field in fields(TaskSpec)}
CAUSE = {"cause_task_id", "cause_generation", "cause_seq"}
RESOLVED = {"id", "created_at", "run_at", "expires_at"}  # minted or resolved by the store
TIMING = {field.name for field in fields(NewTask)} - {"spec"}
# Never shown: whose it is, what is derived from the URL, and what would have to be printed raw.
NOT_SHOWN = {"project", "origin", "target_host", "body", "metadata", "traceparent", "cause"}
NOT_SUBMITTED = {"project", "kind", "origin", "target_host", "traceparent", "cause", "parent_id", "root_id"}
FOLLOW_UPS = {"on_failure", "on_success"}  # one column
POLICY = {"retry_policy", "verdict", "reconcile", "on_lost", "poison_after"}  # one field of a task, and one column
CONTENT = {"payload", "body_base64"}  # other ways to give the body
KEYS = {"idempotency_key", "idempotency_ttl"}  # of the submission, not of the task


def test_every_field_of_a_task_has_its_columns() -> None:
    assert set(tasks.c.keys()) == (SPEC - {"cause"} - FOLLOW_UPS) | CAUSE | RESOLVED | {"follow_ups"}


def test_every_field_of_a_task_is_shown_or_withheld_on_purpose() -> None:
    shown = {_snake(name) for name in TaskResource.__annotations__}
    assert shown >= (SPEC - NOT_SHOWN - {"policy"}) | POLICY
    assert not NOT_SHOWN & shown


def test_every_field_of_a_task_can_be_submitted_or_not_on_purpose() -> None:
    submitted = {field.name for field in wire_fields(SubmitTask)}
    not_built = {_snake(name) for name in SubmitTask.NOT_BUILT}
    assert submitted == (SPEC - NOT_SUBMITTED - not_built - {"policy"}) | POLICY | TIMING | CONTENT | KEYS


def test_every_part_of_a_policy_can_be_submitted() -> None:
    spelled = {"preset": "retry_policy", "rules": "retry_policy", "verdicts": "verdict"}
    assert {spelled.get(field.name, field.name) for field in fields(Policy)} == POLICY


def test_a_follow_up_can_be_given_whatever_a_task_can_but_a_key() -> None:
    assert {field.name for field in wire_fields(SubmitTask)} - KEYS == {
        field.name for field in wire_fields(FollowUpTask)
    }


def test_the_client_knows_the_fields_that_the_service_knows() -> None:
    assert set(ClientTask.__annotations__) == {field.name for field in wire_fields(SubmitTask)}


def test_what_a_redrive_edits_is_what_a_task_holds() -> None:
    assert set(revisions.c.keys()) - {"task_id", "generation"} <= SPEC


def test_the_counters_of_a_task_stand_in_its_hot_row_and_in_its_ending() -> None:
    counters = {field.name for field in fields(Progress)}
    assert counters <= set(ready.c.keys())
    assert counters - {"memory"} <= set(endings.c.keys())


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
