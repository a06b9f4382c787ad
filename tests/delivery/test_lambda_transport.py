"""Functions are invoked: signed, at the endpoint alone, once for each attempt."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.outcome import Outcome, Phase
from taskqueue.core.target import AllowedTargets, parse_target
from taskqueue.delivery.http import Trace, Transport
from taskqueue.delivery.lambda_keys import NO_KEYS, KeyRing, Keys, NotConfigured
from taskqueue.delivery.lambda_request import invocation, signed
from taskqueue.delivery.lambda_transport import LambdaTransport
from taskqueue.delivery.request import Request
from tests.delivery.conftest import request
from tests.faultlab.running import RunningLab, running_lab
from tests.support.target import LocalTarget, answer

OURS = (
    ("Taskqueue-Task-Id", "t-1"),
    ("Idempotency-Key", "t-1"),
    ("webhook-signature", "v1,x"),
    ("traceparent", "00-1"),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    with running_lab(function_seconds=2) as opened:
        yield opened


def keys_of(lab: RunningLab) -> Keys:
    return Keys(lab.environment["AWS_ACCESS_KEY_ID"], lab.environment["AWS_SECRET_ACCESS_KEY"])


def at(target: LocalTarget, region: str = "eu-west-1") -> LambdaEndpoint:
    return LambdaEndpoint.parse(region, f"http://127.0.0.1:{target.port}")


def asked(url: str, **over: Any) -> Request:
    """An attempt on a function."""
    return replace(request("http://unused.example/", **over), target=parse_target(url, functions=True))


@dataclass
class Invoker:
    """Makes attempts on functions, one after the other."""

    runner: asyncio.Runner
    transport: LambdaTransport
    trace: Trace

    def deliver(self, url: str, **over: Any) -> Outcome:
        self.trace = Trace()
        return self.runner.run(self.transport.deliver(asked(url, **over), self.trace))


@pytest.fixture
def invoker_with(runner: asyncio.Runner) -> Iterator[Callable[..., Invoker]]:
    made: list[Invoker] = []

    def make(endpoint: LambdaEndpoint | None, find: Callable[[], Keys]) -> Invoker:
        allowed = endpoint.allowed if endpoint else AllowedTargets()
        transport = LambdaTransport(endpoint, KeyRing(find), Transport(allowed=allowed))
        made.append(Invoker(runner, transport, Trace()))
        return made[-1]

    yield make
    for each in made:
        each.runner.run(each.transport.close())


@pytest.fixture
def invoker(lab: RunningLab, invoker_with: Callable[..., Invoker]) -> Invoker:
    return invoker_with(LambdaEndpoint.parse("eu-west-1", lab.url), lambda: keys_of(lab))


def test_a_function_gets_the_payload_and_is_told_which_task_it_is(invoker: Invoker) -> None:
    outcome = invoker.deliver("lambda://returns", headers=OURS, body=b'{"n": 7}')
    assert outcome.cls.name == "success"
    assert outcome.response is not None
    said = json.loads(outcome.response.body)
    assert said["event"] == {"n": 7}
    assert said["told"] == {"Taskqueue-Task-Id": "t-1", "Idempotency-Key": "t-1", "traceparent": "00-1"}


@pytest.mark.parametrize("url", ["lambda://throttled:live", "lambda://throttled:$LATEST", "lambda://throttled:17"])
def test_the_qualifier_is_part_of_what_is_signed(invoker: Invoker, url: str) -> None:
    assert invoker.deliver(url).cls.name == "throttled"


@pytest.mark.parametrize("body", [None, b"", b"null", '{"ü": "\\ud800"}'.encode()])
def test_any_json_or_nothing_can_be_sent(invoker: Invoker, body: bytes | None) -> None:
    assert invoker.deliver("lambda://raises?invocation=event", body=body).cls.name == "success"


def test_an_event_is_a_success_once_lambda_has_it(invoker: Invoker) -> None:
    outcome = invoker.deliver("lambda://raises?invocation=event")
    assert outcome.cls.name == "success"
    assert outcome.response is not None
    assert (outcome.response.status, outcome.response.body) == (202, b"")


def test_a_function_that_fails_is_no_success(invoker: Invoker) -> None:
    outcome = invoker.deliver("lambda://raises")
    assert (outcome.cls.name, outcome.error_type) == ("function_error", "CardDeclined")


def test_keys_that_lambda_does_not_know_are_told_of(lab: RunningLab, invoker_with: Callable[..., Invoker]) -> None:
    endpoint = LambdaEndpoint.parse("eu-west-1", lab.url)
    for keys in (Keys("AKIAOTHER", "x"), replace(keys_of(lab), secret_key="wrong")):
        outcome = invoker_with(endpoint, lambda keys=keys: keys).deliver("lambda://returns")
        assert not outcome.cls.retryable
        assert outcome.response is not None
        assert outcome.response.status == 403


def test_a_token_is_sent_and_never_shown(target: LocalTarget, invoker_with: Callable[..., Invoker]) -> None:
    target.then(answer(403, b'{"message": "should have been x-amz-security-token:the-token"}'))
    keys = Keys("AKIA", "secret", "the-token")
    invoker = invoker_with(at(target), lambda: keys)
    outcome = invoker.deliver("lambda://orders")
    assert target.hits[0].header("X-Amz-Security-Token") == "the-token"
    assert outcome.response is not None
    assert outcome.response.body == b'{"message": "should have been x-amz-security-token:***"}'
    assert "secret" not in repr(keys)
    assert "token" not in repr(keys).replace("secret", "")


def test_what_goes_over_the_wire(target: LocalTarget, invoker_with: Callable[..., Invoker]) -> None:
    invoker = invoker_with(at(target), lambda: Keys("AKIA", "secret"))
    mine = (("Idempotency-Key", "mine"), ("X-Amz-Log-Type", "Tail"), ("X-Tenant", "7"), ("Cookie", "no"))
    invoker.deliver("lambda://orders:live", headers=(*mine, *OURS), body=b'{"n":1}')
    (hit,) = target.hits
    assert (hit.method, hit.path) == ("POST", "/2015-03-31/functions/orders/invocations?Qualifier=live")
    assert hit.body == b'{"n":1}'
    assert hit.header("Content-Type") == "application/json"
    assert hit.header("X-Amz-Invocation-Type") == "RequestResponse"
    assert hit.header("X-Amz-Log-Type") == "Tail"
    assert hit.header("Idempotency-Key") == "mine"
    assert hit.header("Taskqueue-Task-Id") == "t-1"
    assert hit.header("X-Tenant") is None
    assert hit.header("Cookie") is None
    context = json.loads(base64.b64decode(hit.header("X-Amz-Client-Context") or ""))
    assert context["custom"]["Idempotency-Key"] == "mine"
    authorization = hit.header("Authorization") or ""
    covered = "content-type;host;x-amz-client-context;x-amz-date;x-amz-invocation-type;x-amz-log-type"
    assert f"SignedHeaders={covered}," in authorization


def test_a_context_of_the_callers_own_goes_along_as_it_is(
    target: LocalTarget, invoker_with: Callable[..., Invoker]
) -> None:
    invoker = invoker_with(at(target), lambda: Keys("AKIA", "secret"))
    invoker.deliver("lambda://orders", headers=(("x-amz-client-context", "e30="), *OURS))
    assert target.hits[0].header("X-Amz-Client-Context") == "e30="


def test_an_event_carries_no_context_for_lambda_would_drop_it(
    target: LocalTarget, invoker_with: Callable[..., Invoker]
) -> None:
    invoker = invoker_with(at(target), lambda: Keys("AKIA", "secret"))
    invoker.deliver("lambda://orders?invocation=event", headers=OURS)
    assert target.hits[0].header("X-Amz-Invocation-Type") == "Event"
    assert target.hits[0].header("X-Amz-Client-Context") is None


def test_an_endpoint_that_is_not_allowed_is_not_called(target: LocalTarget, runner: asyncio.Runner) -> None:
    endpoint = at(target)
    with LocalTarget() as other:
        elsewhere = at(other)
        transport = LambdaTransport(elsewhere, KeyRing(lambda: Keys("a", "b")), Transport(allowed=endpoint.allowed))
        outcome = runner.run(transport.deliver(asked("lambda://orders"), Trace()))
        runner.run(transport.close())
        assert other.hits == []
    assert outcome.cls.name == "target_forbidden"


def test_without_a_region_the_sentence_says_what_to_set(invoker_with: Callable[..., Invoker]) -> None:
    outcome = invoker_with(None, lambda: Keys("a", "b")).deliver("lambda://orders")
    assert (outcome.cls.name, outcome.error_type) == ("local_resource", "NotConfigured")
    assert "TASKQUEUE_LAMBDA_REGION" in (outcome.error_message or "")


def test_without_credentials_the_sentence_says_what_to_set(
    target: LocalTarget, invoker_with: Callable[..., Invoker]
) -> None:
    def none() -> Keys:
        raise NotConfigured(NO_KEYS)

    invoker = invoker_with(at(target), none)
    for _ in range(2):
        outcome = invoker.deliver("lambda://orders")
        assert outcome.cls.name == "local_resource"
        assert "AWS_ACCESS_KEY_ID" in (outcome.error_message or "")
    assert target.connections == 0
    assert invoker.trace.surprise is None


def test_why_credentials_failed_is_for_the_log_alone(target: LocalTarget, invoker_with: Callable[..., Invoker]) -> None:
    def broken() -> Keys:
        raise NotConfigured("the AWS credentials could not be had") from OSError("/etc/secret is unreadable")

    invoker = invoker_with(at(target), broken)
    outcome = invoker.deliver("lambda://orders")
    assert "unreadable" not in (outcome.error_message or "")
    assert str(invoker.trace.surprise) == "/etc/secret is unreadable"


def test_a_function_of_another_region_is_not_called(target: LocalTarget, invoker_with: Callable[..., Invoker]) -> None:
    invoker = invoker_with(at(target, "us-east-1"), lambda: Keys("a", "b"))
    outcome = invoker.deliver("lambda://arn:aws:lambda:eu-west-1:123456789012:function:orders")
    assert (outcome.cls.name, outcome.cls.retryable) == ("function_config", False)
    assert target.connections == 0


def test_a_slow_lookup_of_credentials_stops_neither_the_loop_nor_the_clock(
    target: LocalTarget, invoker_with: Callable[..., Invoker]
) -> None:
    gate = threading.Event()

    def slow() -> Keys:
        gate.wait(20)
        return Keys("a", "b")

    invoker = invoker_with(at(target), slow)
    outcome = invoker.deliver("lambda://orders", timeout=0.2)
    assert (outcome.cls.name, outcome.phase) == ("local_resource", Phase.NONE)
    gate.set()
    assert invoker.deliver("lambda://orders").cls.name == "success"


def test_the_time_for_the_call_is_what_the_lookup_left(
    target: LocalTarget, invoker_with: Callable[..., Invoker], runner: asyncio.Runner
) -> None:
    target.then(answer(after=6.0))
    invoker = invoker_with(at(target), lambda: Keys("a", "b"))
    began = runner.get_loop().time()
    assert invoker.deliver("lambda://orders", timeout=0.5).cls.name == "timeout"
    assert runner.get_loop().time() - began < 5


def test_amazons_own_endpoint_is_called_by_https_and_signed_for() -> None:
    endpoint = LambdaEndpoint.parse("eu-west-1")
    attempt = asked("lambda://orders")
    function = attempt.target.lambda_function
    assert function is not None
    call = invocation(attempt, function, endpoint)
    assert call.target.url == "https://lambda.eu-west-1.amazonaws.com:443/2015-03-31/functions/orders/invocations"
    once = dict(signed(call, Keys("a", "b"), "eu-west-1").headers)
    assert once["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=a/")
    assert call.timeout == timedelta(seconds=20)
