"""Trying out a retry policy: what it would do, and what is refused as a submit would refuse it."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.core.outcome import CLASSES
from tests.web.contract import Answer, Api, Json

PATH = "/v1/retry-policies/simulate"


def simulated(front: Api, **fields: Any) -> Json:
    """What the policy would do; asked of a service whose database has no tables, so that nothing can be stored."""
    answer = front.post(PATH, fields)
    assert answer.status == 200, answer.content
    found: Json = answer.json
    return found


def refused(front: Api, **fields: Any) -> Answer:
    answer = front.post(PATH, fields)
    assert answer.status == 422
    return answer


def windows(simulation: Json) -> list[list[float | None]]:
    return [[attempt[name] for name in ("earliest", "expected", "latest")] for attempt in simulation["attempts"]]


def test_without_a_body_the_defaults_meet_a_server_error(front: Api) -> None:
    answer = front.post(PATH)
    assert answer.status == 200
    assert windows(answer.json) == [[0, 0, 0], [0, 1, 2], [0, 3, 6], [0, 7, 14]]
    assert answer.json["attempts"][0] == {
        **{"number": 1, "kind": "call", "outcome": "server_error", "charged": True},
        **{"earliest": 0.0, "expected": 0.0, "latest": 0.0},
    }
    assert answer.json["givesUp"] == {"reason": "exhausted", "earliest": 0.0, "expected": 7.0, "latest": 14.0}
    assert (answer.json["worstCaseSeconds"], answer.json["complete"]) == (134.0, True)
    assert answer.json["detail"] == "4 attempts, then dead (exhausted)"


def test_the_lambda_preset_tries_at_0_60_and_180_seconds(front: Api) -> None:
    simulation = simulated(front, retryPolicy="lambda-async", outcome="function_error", timeout="15m")
    assert windows(simulation) == [[0, 0, 0], [60, 60, 60], [180, 180, 180]]
    assert simulation["worstCaseSeconds"] == 3 * 900 + 180


def test_the_lambda_preset_gives_a_throttled_function_six_hours(front: Api) -> None:
    simulation = simulated(front, retryPolicy="lambda-async", outcome="throttled")
    assert simulation["givesUp"]["reason"] == "exhausted"
    assert 6 * 3600 - 300 <= simulation["givesUp"]["latest"] <= 6 * 3600
    assert not any(attempt["charged"] for attempt in simulation["attempts"])


def test_never_gives_up_at_once(front: Api) -> None:
    simulation = simulated(front, retryPolicy="never")
    assert (len(simulation["attempts"]), simulation["givesUp"]["reason"]) == (1, "rejected")


def test_rules_and_outcomes_in_order_are_played(front: Api) -> None:
    rules = [
        {"match": ["conflict"], "retries": 2, "backoff": {"type": "fixed", "initial": 5, "jitter": "none"}},
        {"match": ["status:5xx"], "retries": 0},
    ]
    simulation = simulated(front, retryPolicy=rules, outcome=["conflict", "timeout", "server_error"], maxRetries=9)
    assert [attempt["outcome"] for attempt in simulation["attempts"]] == ["conflict", "timeout", "server_error"]
    assert windows(simulation)[1] == [5, 5, 5]
    assert simulation["givesUp"]["reason"] == "rejected"


def test_a_success_ends_it_well(front: Api) -> None:
    simulation = simulated(front, outcome=["timeout", "success"])
    assert (simulation["complete"], simulation["givesUp"]) == (True, None)
    assert simulation["detail"] == "2 attempts, then success"


def test_what_goes_on_and_on_is_cut(front: Api) -> None:
    simulation = simulated(front, outcome="throttled")
    assert (len(simulation["attempts"]), simulation["complete"], simulation["givesUp"]) == (500, False, None)
    assert simulation["worstCaseSeconds"] == 7 * 86_400 + 30
    assert simulation["detail"].endswith("and so on, until it expires")


def test_a_target_may_be_supposed_to_name_a_wait(front: Api) -> None:
    simulation = simulated(front, outcome="unavailable", retryAfter="2m", expiresIn="5m")
    assert windows(simulation)[:3] == [[0, 0, 0], [120, 126, 132], [240, 252, 264]]
    assert (len(simulation["attempts"]), simulation["givesUp"]["reason"]) == (3, "expired")
    fault = refused(front, outcome=["timeout", "server_error"], retryAfter=5).faults["/retryAfter"]
    assert "only these outcomes hear of a wait: conflict, throttled, bad_gateway" in fault


def test_poison_and_lost_workers_are_simulated(front: Api) -> None:
    assert simulated(front, retries=9, poisonAfter=2)["givesUp"]["reason"] == "poison"
    lost = simulated(front, outcome="worker_lost")
    assert (len(lost["attempts"]), lost["givesUp"]["reason"]) == (4, "lost")
    assert len(simulated(front, outcome="worker_lost", onLost="dead")["attempts"]) == 1


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"cancelled"}))
def test_every_class_can_be_supposed(front: Api, name: str) -> None:
    assert simulated(front, outcome=name, expiresIn="10m")["attempts"][0]["outcome"] == name


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"retires": 3}, "/retires", "did you mean retries?"),
        ({"outcome": "timeuot"}, "/outcome", "did you mean timeout"),
        ({"outcome": "cancelled"}, "/outcome", "expected one of: success, dns_not_found"),
        ({"outcome": ["timeout", "timeuot"]}, "/outcome/1", "did you mean timeout"),
        ({"outcome": []}, "/outcome", "expected 1 to 100 items"),
        ({"retries": 101}, "/retries", "an integer from 0 to 100"),
        ({"timeout": 0}, "/timeout", "expected a span"),
        ({"poisonAfter": 1}, "/poisonAfter", "from 2 to 100"),
        ({"onLost": "cry"}, "/onLost", "expected one of: retry, dead"),
        ({"retryPolicy": "lambda"}, "/retryPolicy", "lambda-async"),
        ({"retryPolicy": [{"match": ["timeuot"]}]}, "/retryPolicy/0/match/0", 'did you mean "timeout"?'),
        ({"retryPolicy": [{"match": ["5xx"]}]}, "/retryPolicy/0/match/0", 'did you mean "status:5xx"?'),
        ({"retryPolicy": [{"match": ["*"], "retries": 0, "within": 5}]}, "/retryPolicy/0/within", "with 0 retries"),
        ({"backoff": {"type": "schedule"}}, "/backoff/schedule", "needs a schedule"),
        ({"targetUrl": "https://x.example/"}, "/targetUrl", "unknown field"),
        ({"retries": 1, "maxRetries": 1}, "/maxRetries", "the same field"),
    ],
)
def test_what_a_submit_refuses_is_refused_here(front: Api, fields: Json, pointer: str, words: str) -> None:
    faults = refused(front, **fields).faults
    assert words in faults[pointer], faults


def test_all_that_is_wrong_is_said_at_once(front: Api) -> None:
    answer = refused(front, retries=-1, outcome="nope", retryPolicy=[{"match": []}])
    assert answer.faults.keys() == {"/retries", "/outcome", "/retryPolicy/0/match"}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"never"'])
def test_what_is_no_object_is_refused(front: Api, body: bytes) -> None:
    assert front.post(PATH, body).status == 422


def test_what_is_no_json_is_unreadable(front: Api) -> None:
    assert front.post(PATH, b"{").status == 400


def test_a_rule_for_an_error_type_can_be_played(front: Api) -> None:
    rules = [{"match": ["errorType:Key*"], "retries": 0}]
    assert simulated(front, retryPolicy=rules, outcome="function_error")["givesUp"]["reason"] == "exhausted"
    played = simulated(front, retryPolicy=rules, outcome="function_error", errorType="KeyError")
    assert (played["givesUp"]["reason"], len(played["attempts"])) == ("rejected", 1)


ASKED = {"url": "https://caller.example/done", "timeout": "5s", "onUnknown": "hold"}


@pytest.mark.parametrize(
    ("answer", "kinds", "outcome", "reason"),
    [
        (None, ["call", "reconcile"] * 2, "not-done", "exhausted"),
        ("done", ["call", "reconcile"], "done", None),
        ("unknown", ["call", "reconcile"], "unknown", "uncertain"),
        ("down", ["call", *["reconcile"] * 5], "connect_refused", "uncertain"),
    ],
)
def test_whoever_would_be_asked_can_be_supposed_to_answer(
    front: Api, answer: str | None, kinds: list[str], outcome: str, reason: str | None
) -> None:
    given = {"answer": answer} if answer is not None else {}
    played = simulated(front, outcome="timeout", retries=1, reconcile=ASKED, **given)
    assert [attempt["kind"] for attempt in played["attempts"]] == kinds
    assert played["attempts"][1]["outcome"] == outcome
    assert (played["givesUp"] or {}).get("reason") == reason


def test_nobody_is_asked_about_what_left_no_work_behind(front: Api) -> None:
    assert {attempt["kind"] for attempt in simulated(front, outcome="unavailable", reconcile=ASKED)["attempts"]} == {
        "call"
    }


def test_an_answer_needs_somebody_who_gives_it(front: Api) -> None:
    assert "nobody is asked" in refused(front, answer="done").faults["/answer"]
    assert refused(front, reconcile={"onUnknown": "hold"}).faults.keys() == {"/reconcile/url"}
    assert refused(front, reconcile=ASKED, answer="yes").faults.keys() == {"/answer"}
