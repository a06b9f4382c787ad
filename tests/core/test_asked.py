"""What was asked for is shown as it was asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.core.asked import asked_resource
from taskqueue.core.policy import PRESETS, OnLost, OnUnknown, Policy, Reconcile, Rule
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import FollowUp, NewTask, WebhookEvent
from taskqueue.core.verdict import Ruling, Verdict, When
from tests.core.examples import a_spec

PLAIN = {
    "targetUrl": "https://target.example/work?page=1",
    "method": "POST",
    "headers": {},
    "contentType": None,
    "webhookUrl": None,
    "webhookEvents": ["cancelled", "dead", "succeeded"],
    "retries": 3,
    "timeout": 30.0,
    "backoff": None,
    "retryPolicy": None,
    "verdict": [],
    "reconcile": None,
    "onLost": "retry",
    "poisonAfter": None,
    "onFailure": None,
    "onSuccess": None,
    "queue": "default",
    "priority": 5,
    "orderingKey": None,
    "flowKey": "https://target.example:443",
    "labels": [],
}
BACKOFF = Backoff(type=BackoffType.SCHEDULE, schedule=(timedelta(seconds=1), timedelta(minutes=1)), jitter=Jitter.NONE)
SHOWN_BACKOFF = {
    "type": "schedule",
    "initial": 2.0,
    "factor": 2.0,
    "max": 900.0,
    "jitter": "none",
    "schedule": [1.0, 60.0],
}


def test_a_plain_task_shows_what_holds_where_nothing_was_said() -> None:
    assert asked_resource(a_spec()) == PLAIN


def test_every_field_is_shown_but_what_is_carried() -> None:
    spec = a_spec(
        headers=(("X-Tenant", "7"),),
        body=b"never shown here",
        content_type="text/plain",
        webhook_url="https://caller.example/hook",
        webhook_events=frozenset({WebhookEvent.DEAD, WebhookEvent.ATTEMPT_FAILED}),
        retries=4,
        timeout=timedelta(milliseconds=1500),
        backoff=BACKOFF,
        queue="mail",
        priority=7,
        ordering_key="customer-1",
        flow_key="smtp",
        labels=("a", "b"),
    )
    assert asked_resource(spec) == {
        **PLAIN,
        "headers": {"X-Tenant": "7"},
        "contentType": "text/plain",
        "webhookUrl": "https://caller.example/hook",
        "webhookEvents": ["attemptFailed", "dead"],
        "retries": 4,
        "timeout": 1.5,
        "backoff": SHOWN_BACKOFF,
        "queue": "mail",
        "priority": 7,
        "orderingKey": "customer-1",
        "flowKey": "smtp",
        "labels": ["a", "b"],
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_by_its_name(name: str) -> None:
    assert asked_resource(a_spec(policy=Policy(preset=name)))["retryPolicy"] == name


def test_rules_are_shown_one_by_one() -> None:
    rules = (
        Rule(match=("throttled", "status:409"), retries=20, within=timedelta(hours=1), backoff=BACKOFF, charge=False),
        Rule(match=("*",)),
    )
    assert asked_resource(a_spec(policy=Policy(rules=rules)))["retryPolicy"] == [
        {
            "match": ["throttled", "status:409"],
            "retries": 20,
            "within": 3600.0,
            "backoff": SHOWN_BACKOFF,
            "charge": False,
        },
        {"match": ["*"], "retries": None, "within": None, "backoff": None, "charge": True},
    ]


@pytest.mark.parametrize(
    ("when", "shown"),
    [
        (When(status="5xx", header="x-state"), {"status": "5xx", "header": "x-state"}),
        (When(json_path="$.ok", equals=False), {"jsonPath": "$.ok", "equals": False}),
        (When(json_path="$.n", equals=0), {"jsonPath": "$.n", "equals": 0}),
        (When(json_path="$.n", one_of=(None, 1, "a")), {"jsonPath": "$.n", "in": [None, 1, "a"]}),
        (When(json_path="$.n", exists=False), {"jsonPath": "$.n", "exists": False}),
        (When(header="x-state", glob="*wait*"), {"header": "x-state", "glob": "*wait*"}),
    ],
)
def test_a_verdict_shows_the_conditions_it_has(when: When, shown: dict[str, object]) -> None:
    policy = Policy(verdicts=(Verdict(when=when, outcome=Ruling.DEFER),))
    assert asked_resource(a_spec(policy=policy))["verdict"] == [{"when": shown, "outcome": "defer"}]


def test_the_rest_of_a_policy_is_shown() -> None:
    ask = Reconcile(url="https://ask.example/", timeout=timedelta(seconds=3), on_unknown=OnUnknown.HOLD)
    shown = asked_resource(a_spec(policy=Policy(reconcile=ask, on_lost=OnLost.DEAD, poison_after=2)))
    assert shown["reconcile"] == {"url": "https://ask.example/", "timeout": 3.0, "onUnknown": "hold"}
    assert (shown["onLost"], shown["poisonAfter"]) == ("dead", 2)


def test_follow_ups_are_shown_with_what_follows_them_and_with_their_times() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    last = FollowUp(task=NewTask(spec=a_spec(retries=1), run_at=at, expires_at=at + timedelta(days=1)))
    first = NewTask(spec=a_spec(on_success=last), delay=timedelta(minutes=1), expires_in=timedelta(hours=1))
    shown = asked_resource(a_spec(on_failure=FollowUp(task=first, match=("partial:likely",))))["onFailure"]
    assert shown is not None
    assert shown["match"] == ["partial:likely"]
    relative = {"delay": 60.0, "runAt": None, "expiresIn": 3600.0, "expiresAt": None}
    absolute = {
        "delay": 0.0,
        "runAt": "2030-01-01T00:00:00.000Z",
        "expiresIn": None,
        "expiresAt": "2030-01-02T00:00:00.000Z",
    }
    inner = {**PLAIN, "retries": 1, **absolute}
    assert shown["task"] == {**PLAIN, "onSuccess": {"task": inner}, **relative}


def test_a_follow_up_for_any_death_names_no_patterns() -> None:
    shown = asked_resource(a_spec(on_failure=FollowUp(task=NewTask(spec=replace(a_spec(), retries=0)))))["onFailure"]
    assert shown is not None
    assert shown["match"] == []
