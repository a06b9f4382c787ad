"""Policies and follow-ups: whatever was accepted comes back from the database as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskqueue.core.policy import NO_POLICY, PRESETS, OnLost, OnUnknown, Policy, Reconcile, Rule
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import AttemptKind, FollowUp, NewTask, TaskId, TaskSpec, WebhookEvent
from taskqueue.core.verdict import Ruling, Verdict, When
from taskqueue.store.database import Database
from taskqueue.store.policies import follow_ups_blob, follow_ups_of, policy_blob, policy_of
from taskqueue.store.schema import tasks
from tests.support.builders import claim_one, look_up, new_task, submit_one

pytestmark = pytest.mark.usefixtures("sound")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text("abcdefghij:*5x", min_size=1, max_size=12)
spans = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))
times = st.timedeltas(timedelta(0), timedelta(days=9999)).map(lambda span: datetime(2020, 1, 1, tzinfo=UTC) + span)
backoffs = st.builds(
    Backoff,
    type=st.sampled_from(BackoffType),
    initial=spans,
    factor=st.floats(1, 100),
    max=spans,
    jitter=st.sampled_from(Jitter),
    schedule=st.lists(spans, max_size=3).map(tuple),
)
rules = st.builds(
    Rule,
    match=st.lists(names, min_size=1, max_size=3).map(tuple),
    retries=st.none() | st.integers(0, 100),
    within=st.none() | spans,
    backoff=st.none() | backoffs,
    charge=st.booleans(),
)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
verdicts = st.builds(
    Verdict,
    when=st.builds(
        When,
        status=st.none() | names,
        header=st.none() | names,
        json_path=st.none() | texts,
        equals=values,
        one_of=st.lists(values, max_size=3).map(tuple),
        exists=st.none() | st.booleans(),
        glob=st.none() | texts,
    ),
    outcome=st.sampled_from(Ruling),
)
policies = st.builds(
    Policy,
    preset=st.none() | st.sampled_from(sorted(PRESETS)),
    rules=st.lists(rules, max_size=3).map(tuple),
    verdicts=st.lists(verdicts, max_size=3).map(tuple),
    reconcile=st.none() | st.builds(Reconcile, url=texts, timeout=spans, on_unknown=st.sampled_from(OnUnknown)),
    on_lost=st.sampled_from(OnLost),
    poison_after=st.none() | st.integers(2, 100),
)
pairs = st.lists(st.tuples(names, texts), max_size=3).map(tuple)


def specs(follow_ups: st.SearchStrategy[FollowUp | None]) -> st.SearchStrategy[TaskSpec]:
    return st.builds(
        TaskSpec,
        target_url=names,
        origin=names,
        target_host=names,
        headers=pairs,
        body=st.none() | st.binary(max_size=50),
        webhook_url=st.none() | names,
        webhook_events=st.frozensets(st.sampled_from(WebhookEvent)),
        timeout=spans,
        backoff=st.none() | backoffs,
        policy=policies | st.just(NO_POLICY),
        on_failure=follow_ups,
        on_success=follow_ups,
        labels=st.lists(names, max_size=3).map(tuple),
        metadata=st.none() | st.binary(max_size=50),
    )


def follow_ups(of: st.SearchStrategy[TaskSpec]) -> st.SearchStrategy[FollowUp | None]:
    task = st.builds(
        NewTask,
        spec=of,
        run_at=st.none() | times,
        delay=spans,
        expires_at=st.none() | times,
        expires_in=st.none() | spans,
    )
    return st.builds(FollowUp, task=task, match=st.lists(names, max_size=3).map(tuple))


nested = follow_ups(specs(follow_ups(specs(st.none())) | st.none())) | st.none()


def exactly(value: Any) -> str:
    """``value`` with every type in it: 1, 1.0 and True are equal, but not the same answer of a target."""
    return repr(value)


@given(policy=policies)
@settings(max_examples=100, deadline=None)
def test_every_policy_comes_back_exactly_as_it_was(policy: Policy) -> None:
    assert exactly(policy_of(policy_blob(policy))) == exactly(policy)


@given(on_failure=nested, on_success=nested)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_follow_up_comes_back_exactly_as_it_was(on_failure: FollowUp | None, on_success: FollowUp | None) -> None:
    found = follow_ups_of(follow_ups_blob(replace(new_task().spec, on_failure=on_failure, on_success=on_success)))
    assert (found.on_failure, found.on_success) == (on_failure, on_success)


def full() -> dict[str, Any]:
    """Every new field of a spec, each with something in it."""
    policy = Policy(
        rules=(Rule(match=("status:409",), retries=2, within=timedelta(hours=1), backoff=Backoff(), charge=False),),
        verdicts=(Verdict(when=When(json_path="$.ok", equals=False), outcome=Ruling.RETRY),),
        reconcile=Reconcile(url="https://target.example/done", timeout=timedelta(seconds=3)),
        on_lost=OnLost.DEAD,
        poison_after=3,
    )
    last = new_task(body=b"\x00\xff", policy=policy)
    first = new_task(on_success=FollowUp(task=last), queue="undo", delay=timedelta(seconds=5))
    return {
        "policy": policy,
        "on_failure": FollowUp(task=first, match=("partial:likely", "reason:exhausted")),
        "on_success": FollowUp(task=last),
        "parent_id": TaskId(UUID(int=2)),
        "root_id": TaskId(UUID(int=1)),
    }


def test_a_task_is_claimed_with_all_that_was_said_about_failures(database: Database) -> None:
    said = full()
    submitted = submit_one(database, **said)
    claimed = claim_one(database)
    for task in (submitted, claimed, look_up(database, submitted.id)):
        assert {name: getattr(task.spec, name) for name in said} == said


def test_who_says_nothing_stores_nothing_and_shares_one_policy(database: Database) -> None:
    submit_one(database)
    claimed = claim_one(database)
    assert claimed.spec.policy is NO_POLICY
    assert (claimed.spec.on_failure, claimed.spec.on_success, claimed.spec.root_id) == (None, None, None)
    with database.read() as conn:
        columns = (tasks.c.policy, tasks.c.follow_ups, tasks.c.parent_id, tasks.c.root_id)
        assert conn.execute(tasks.select().with_only_columns(*columns)).one() == (None, None, None, None)


def test_tasks_with_the_same_policy_share_it() -> None:
    blob = policy_blob(Policy(on_lost=OnLost.DEAD))
    assert blob is not None
    assert policy_of(blob) is policy_of(bytes(bytearray(blob)))
    long = policy_blob(Policy(rules=tuple(Rule(match=("x" * 200,) * 20) for _ in range(20))))
    assert policy_of(long) == policy_of(long)
    assert policy_of(long) is not policy_of(long)


def newer(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The policy of ``full`` as a version would write it that knows more."""
    said = json.loads(policy_blob(full()["policy"]) or b"")
    change(said)
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    ("change", "unread"),
    [
        (lambda said: said.update(on_lost="ask_somebody"), "on_lost"),
        (lambda said: said.update(preset="step-functions"), "preset"),
        (lambda said: said.update(poison_after="often"), "poison_after"),
        (lambda said: said["rules"][0]["backoff"].update(type="fibonacci"), "rules"),
        (lambda said: said["rules"][0].pop("match"), "rules"),
        (lambda said: said["verdicts"][0].update(outcome="shrug"), "verdicts"),
        (lambda said: said["reconcile"].pop("url"), "reconcile"),
        (lambda said: said.update(hedge_after="PT3S"), None),
    ],
)
def test_what_only_a_newer_version_can_read_counts_as_not_said(change: Any, unread: str | None) -> None:
    whole, found = full()["policy"], policy_of(newer(change))
    for field in fields(Policy):
        assert getattr(found, field.name) == getattr(NO_POLICY if field.name == unread else whole, field.name)
    assert found.all_rules is not None


def test_of_whom_to_ask_an_unknown_choice_alone_counts_as_not_said() -> None:
    found = policy_of(newer(lambda said: said["reconcile"].update(on_unknown="page_someone")))
    assert found.reconcile == Reconcile(url="https://target.example/done", timeout=timedelta(seconds=3))


def test_a_follow_up_of_a_newer_version_is_still_one() -> None:
    spec = replace(new_task().spec, on_failure=full()["on_failure"])
    said = json.loads(follow_ups_blob(spec) or b"")
    said["on_failure"]["task"]["spec"].update(kind="errand", colour="red")
    said["on_failure"]["task"]["spec"]["policy"]["on_lost"] = "ask_somebody"
    found = follow_ups_of(json.dumps(said).encode()).on_failure
    assert found == spec.on_failure
    del said["on_failure"]["task"]["spec"]["target_url"]
    assert follow_ups_of(json.dumps(said).encode()).on_failure is None


def test_an_attempt_has_a_kind() -> None:
    assert {kind.value for kind in AttemptKind} == {"call", "reconcile"}
