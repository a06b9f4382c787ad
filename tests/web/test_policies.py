"""Policies: what is accepted reaches the store as it was meant and is shown again; what means nothing is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from taskqueue.core.policy import NO_POLICY, PRESETS, OnLost, OnUnknown, Policy, Reconcile, Rule
from taskqueue.core.retry import Backoff, Jitter
from taskqueue.core.task import TaskId
from taskqueue.core.verdict import Ruling, Verdict, When
from taskqueue.store.database import Database
from tests.support.builders import look_up
from tests.web.contract import Api, Json

TARGET = "https://target.example/work"
RULE = {"match": ["timeout"]}


def stored(api: Api, database: Database, **fields: Any) -> Policy:
    """The policy of a task that was submitted with these fields, as the store gives it back."""
    return look_up(database, TaskId(UUID(api.submit(**fields)["id"]))).spec.policy


def refused(front: Api, **fields: Any) -> dict[str, str]:
    answer = front.post("/v1/tasks", {"targetUrl": TARGET, **fields})
    assert answer.status == 422, answer.content
    return answer.faults


def verdict(**when: object) -> Json:
    return {"verdict": [{"when": when, "outcome": "fail"}]}


def test_a_task_that_says_nothing_has_no_policy(api: Api, database: Database) -> None:
    assert stored(api, database) == NO_POLICY
    shown = api.submit()
    named = {name: shown[name] for name in ("retryPolicy", "verdict", "reconcile", "onLost", "poisonAfter")}
    assert named == {"retryPolicy": None, "verdict": [], "reconcile": None, "onLost": "retry", "poisonAfter": None}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_kept_by_its_name(api: Api, database: Database, name: str) -> None:
    assert stored(api, database, retryPolicy=name) == Policy(preset=name)
    assert api.submit(retryPolicy=name)["retryPolicy"] == name


def test_rules_are_kept_in_their_order(api: Api, database: Database) -> None:
    asked = [
        {"match": ["throttled", "status:409", "errorType:Busy*"], "retries": 20, "within": "1h", "charge": False},
        {"match": ["function_*"], "backoff": {"type": "exponential", "initial": 1, "max": "2m", "jitter": "equal"}},
        {"match": ["partial:likely"], "retries": 0},
    ]
    assert stored(api, database, retryPolicy=asked).rules == (
        Rule(match=("throttled", "status:409", "errorType:Busy*"), retries=20, within=timedelta(hours=1), charge=False),
        Rule(
            match=("function_*",),
            backoff=Backoff(initial=timedelta(seconds=1), max=timedelta(minutes=2), jitter=Jitter.EQUAL),
        ),
        Rule(match=("partial:likely",), retries=0),
    )
    first, second, _ = api.submit(retryPolicy=asked)["retryPolicy"]
    assert first == {**asked[0], "within": 3600.0, "backoff": None}
    assert (second["retries"], second["backoff"]["max"], second["charge"]) == (None, 120.0, True)


def test_verdicts_are_kept_in_their_order(api: Api, database: Database) -> None:
    asked = [
        {"when": {"status": "2xx", "jsonPath": "$.status", "equals": "error"}, "outcome": "retry"},
        {"when": {"jsonPath": "$.errors[0]['the code']", "in": [1, 2.5, None, True, "x"]}, "outcome": "fail"},
        {"when": {"header": "X-State", "glob": "*wait*"}, "outcome": "defer"},
        {"when": {"status": "409", "header": "x-done", "exists": True}, "outcome": "success"},
    ]
    assert stored(api, database, verdict=asked).verdicts == (
        Verdict(when=When(status="2xx", json_path="$.status", equals="error"), outcome=Ruling.RETRY),
        Verdict(when=When(json_path="$.errors[0]['the code']", one_of=(1, 2.5, None, True, "x")), outcome=Ruling.FAIL),
        Verdict(when=When(header="x-state", glob="*wait*"), outcome=Ruling.DEFER),
        Verdict(when=When(status="409", header="x-done", exists=True), outcome=Ruling.SUCCESS),
    )
    shown = api.submit(verdict=asked)["verdict"]
    assert shown == [*asked[:2], {"when": {"header": "x-state", "glob": "*wait*"}, "outcome": "defer"}, asked[3]]


@pytest.mark.parametrize("value", ["", "x", 0, 1.5, True, False, -(2**63)])
def test_a_verdict_may_ask_for_any_plain_value(api: Api, database: Database, value: object) -> None:
    (kept,) = stored(api, database, **verdict(jsonPath="$.a", equals=value)).verdicts
    assert (kept.when.equals, type(kept.when.equals)) == (value, type(value))


def test_a_verdict_may_ask_for_null(api: Api, database: Database) -> None:
    (kept,) = stored(api, database, **verdict(jsonPath="$.a", equals=None)).verdicts
    assert (kept.when.equals, kept.when.one_of) == (None, (None,))


def test_the_rest_of_a_policy_is_kept(api: Api, database: Database) -> None:
    asked = {"reconcile": {"url": "https://ask.example/state"}, "onLost": "dead", "poisonAfter": 2}
    policy = stored(api, database, **asked)
    assert policy.reconcile == Reconcile(url="https://ask.example/state", timeout=timedelta(seconds=10))
    assert (policy.on_lost, policy.poison_after) == (OnLost.DEAD, 2)
    asked["reconcile"] = {"url": "https://ask.example/state", "timeout": "1m", "onUnknown": "hold"}
    policy = stored(api, database, **asked)
    assert policy.reconcile is not None
    assert (policy.reconcile.timeout, policy.reconcile.on_unknown) == (timedelta(minutes=1), OnUnknown.HOLD)
    assert api.submit(**asked)["reconcile"] == {**asked["reconcile"], "timeout": 60.0}


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"retryPolicy": "lambda"}, "/retryPolicy"),
        ({"retryPolicy": None}, "/retryPolicy"),
        ({"retryPolicy": {"match": ["*"]}}, "/retryPolicy"),
        ({"retryPolicy": []}, "/retryPolicy"),
        ({"retryPolicy": [RULE] * 21}, "/retryPolicy"),
        ({"retryPolicy": [RULE, "never"]}, "/retryPolicy/1"),
        ({"retryPolicy": [{}]}, "/retryPolicy/0/match"),
        ({"retryPolicy": [{"match": []}]}, "/retryPolicy/0/match"),
        ({"retryPolicy": [{"match": ["*"] * 21}]}, "/retryPolicy/0/match"),
        ({"retryPolicy": [RULE, RULE, {"match": ["bogus"]}]}, "/retryPolicy/2/match/0"),
        ({"retryPolicy": [{"match": ["timeout", 1]}]}, "/retryPolicy/0/match/1"),
        ({"retryPolicy": [{"match": ["timeout", "a" * 201]}]}, "/retryPolicy/0/match/1"),
        ({"retryPolicy": [{"match": ["success"]}]}, "/retryPolicy/0/match/0"),
        ({"retryPolicy": [{"match": ["target_forbidden"]}]}, "/retryPolicy/0/match/0"),
        ({"retryPolicy": [{"match": ["reason:exhausted"]}]}, "/retryPolicy/0/match/0"),
        ({"retryPolicy": [{**RULE, "retries": 101}]}, "/retryPolicy/0/retries"),
        ({"retryPolicy": [{**RULE, "retries": None}]}, "/retryPolicy/0/retries"),
        ({"retryPolicy": [{**RULE, "within": 0}]}, "/retryPolicy/0/within"),
        ({"retryPolicy": [{**RULE, "charge": 0}]}, "/retryPolicy/0/charge"),
        ({"retryPolicy": [{**RULE, "retires": 1}]}, "/retryPolicy/0/retires"),
        ({"retryPolicy": [{**RULE, "backoff": {"type": "schedule"}}]}, "/retryPolicy/0/backoff/schedule"),
        ({"retryPolicy": [{**RULE, "retries": 0, "within": "1m"}]}, "/retryPolicy/0/within"),
        ({"retryPolicy": [{**RULE, "retries": 0, "backoff": {}}]}, "/retryPolicy/0/backoff"),
        ({"verdict": []}, "/verdict"),
        ({"verdict": [verdict(status="2xx")["verdict"][0]] * 21}, "/verdict"),
        ({"verdict": [{"when": {"status": "2xx"}}]}, "/verdict/0/outcome"),
        ({"verdict": [{"when": {"status": "2xx"}, "outcome": "dead"}]}, "/verdict/0/outcome"),
        (verdict(), "/verdict/0/when"),
        (verdict(status="600"), "/verdict/0/when/status"),
        (verdict(status=200), "/verdict/0/when/status"),
        (verdict(status="302"), "/verdict/0/when/status"),
        (verdict(status="489"), "/verdict/0/when/status"),
        (verdict(status="2xx", equals=1), "/verdict/0/when/equals"),
        (verdict(status="2xx", exists=False), "/verdict/0/when/exists"),
        (verdict(header="not a name", glob="*"), "/verdict/0/when/header"),
        (verdict(header="x", equals=1), "/verdict/0/when/equals"),
        (verdict(header="x", **{"in": ["a", 1]}), "/verdict/0/when/in/1"),
        (verdict(header="x", jsonPath="$.a"), "/verdict/0/when/jsonPath"),
        (verdict(jsonPath="a.b"), "/verdict/0/when/jsonPath"),
        (verdict(jsonPath="$..b"), "/verdict/0/when/jsonPath"),
        (verdict(jsonPath="$.a[*]"), "/verdict/0/when/jsonPath"),
        (verdict(jsonPath="$" + ".a" * 21), "/verdict/0/when/jsonPath"),
        (verdict(jsonPath="$.a", equals=[1]), "/verdict/0/when/equals"),
        (verdict(jsonPath="$.a", equals=10**30), "/verdict/0/when/equals"),
        (verdict(jsonPath="$.a", equals="\ud800"), "/verdict/0/when/equals"),
        (verdict(jsonPath="$.a", equals="x" * 1025), "/verdict/0/when/equals"),
        (verdict(jsonPath="$.a", equals=1, exists=True), "/verdict/0/when/exists"),
        (verdict(jsonPath="$.a", exists=1), "/verdict/0/when/exists"),
        (verdict(jsonPath="$.a", glob=""), "/verdict/0/when/glob"),
        (verdict(jsonPath="$.a", glob=None), "/verdict/0/when/glob"),
        (verdict(jsonPath="$.a", **{"in": []}), "/verdict/0/when/in"),
        (verdict(jsonpath="$.a", status="2xx"), "/verdict/0/when/jsonpath"),
        ({"reconcile": "https://ask.example/"}, "/reconcile"),
        ({"reconcile": {}}, "/reconcile/url"),
        ({"reconcile": {"url": "http://127.0.0.1/"}}, "/reconcile/url"),
        ({"reconcile": {"url": "lambda://function"}}, "/reconcile/url"),
        ({"reconcile": {"url": "https://ask.example/", "timeout": "2m1s"}}, "/reconcile/timeout"),
        ({"reconcile": {"url": "https://ask.example/", "onUnknown": "dead"}}, "/reconcile/onUnknown"),
        ({"reconcile": {"url": "https://ask.example/", "method": "GET"}}, "/reconcile/method"),
        ({"onLost": "hold"}, "/onLost"),
        ({"poisonAfter": 1}, "/poisonAfter"),
        ({"poisonAfter": 101}, "/poisonAfter"),
        ({"poisonAfter": True}, "/poisonAfter"),
    ],
)
def test_what_a_policy_cannot_mean_is_refused_where_it_stands(front: Api, fields: Json, pointer: str) -> None:
    assert list(refused(front, **fields)) == [pointer]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"retryPolicy": 3}, "expected one of: default, any-error, lambda-async, never; or an array of rules"),
        ({"retryPolicy": "nevr"}, "expected one of: default, any-error, lambda-async, never; or an array of rules"),
        ({"retryPolicy": [{"match": ["timeot"]}]}, 'did you mean "timeout"?'),
        ({"retryPolicy": [{"match": ["aborted"]}]}, "aborted is never retried, whatever a rule says; leave it out"),
        (
            {"retryPolicy": [{"match": ["verdict_f*"]}]},
            "verdict_fail is never retried, whatever a rule says; leave it out",
        ),
        ({"retryPolicy": [{"match": ["status:489"]}]}, "489 says not to try again, whatever a rule says; leave it out"),
        ({"retryPolicy": [{**RULE, "retries": 0, "within": 1}]}, "with 0 retries within has nothing to say"),
        (verdict(), "give status, header or jsonPath"),
        (verdict(status="3xx"), "no verdict is asked about a redirect"),
        (verdict(header="x", equals=1), "the value of a header is a text; write it in quotes"),
        (verdict(jsonPath="$.a", equals=1, glob="a"), "equals and glob are both given; a verdict makes one test"),
        (verdict(jsonPath="$..a"), "there are no wildcards and no filters"),
        ({"reconcile": {"url": "http://10.0.0.1/"}}, "an operator can allow it in TASKQUEUE_ALLOWED_TARGETS"),
    ],
)
def test_a_refusal_of_a_policy_says_what_to_do(front: Api, fields: Json, sentence: str) -> None:
    (detail,) = refused(front, **fields).values()
    assert sentence in detail


def test_all_that_is_wrong_with_a_policy_is_told_at_once(front: Api) -> None:
    faults = refused(
        front,
        retryPolicy=[{"match": [1, "bogus"], "retries": -1}, {"match": ["*"], "retries": 0, "within": 1}],
        **verdict(status="2xx", equals=1),
        onLost="x",
    )
    assert faults.keys() == {
        "/retryPolicy/0/match/0",
        "/retryPolicy/0/match/1",
        "/retryPolicy/0/retries",
        "/retryPolicy/1/within",
        "/verdict/0/when/equals",
        "/onLost",
    }


def test_a_batch_points_into_the_policy_of_each_task(front: Api) -> None:
    tasks = [{"targetUrl": TARGET}, {"targetUrl": TARGET, "retryPolicy": [RULE, {"match": ["*", "bogus"]}]}]
    assert list(front.post("/v1/tasks/batch", {"tasks": tasks}).faults) == ["/tasks/1/retryPolicy/1/match/1"]


def test_a_key_that_comes_twice_in_a_rule_is_a_400(front: Api) -> None:
    body = b'{"targetUrl": "https://a.example/", "retryPolicy": [{"match": ["*"], "retries": 1, "retries": 2}]}'
    assert front.post("/v1/tasks", body).status == 400
