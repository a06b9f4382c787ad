"""Which function a lambda:// URL names, how it is to be called, and what may be sent along."""

from __future__ import annotations

import pytest

from taskqueue.core.errors import InvalidTarget, InvalidTask
from taskqueue.core.lambda_endpoint import LambdaEndpoint, is_region
from taskqueue.core.lambda_function import LambdaFunction, check_invocation
from taskqueue.core.target import AllowedTargets, Target, check_spelling, parse_target

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders"


def parse(url: str) -> Target:
    return parse_target(url, functions=True)


def function_of(url: str) -> LambdaFunction:
    function = parse(url).lambda_function
    assert function is not None
    return function


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("lambda://orders", "/2015-03-31/functions/orders/invocations"),
        ("lambda://orders:live", "/2015-03-31/functions/orders/invocations?Qualifier=live"),
        ("lambda://orders:17", "/2015-03-31/functions/orders/invocations?Qualifier=17"),
        ("lambda://orders:$LATEST", "/2015-03-31/functions/orders/invocations?Qualifier=%24LATEST"),
        (
            "lambda://123456789012:function:orders",
            "/2015-03-31/functions/123456789012%3Afunction%3Aorders/invocations",
        ),
        (
            f"lambda://{ARN}:live",
            f"/2015-03-31/functions/{ARN.replace(':', '%3A')}/invocations?Qualifier=live",
        ),
    ],
)
def test_a_function_is_named_as_amazon_names_it(url: str, path: str) -> None:
    target = parse(url)
    assert (target.url, target.path, target.host) == (url, path, "orders")


def test_every_version_of_a_function_is_one_place() -> None:
    assert parse("lambda://orders:live").origin == parse("lambda://orders").origin == "lambda://orders"


def test_the_region_of_an_arn_is_kept() -> None:
    assert function_of(f"lambda://{ARN}").region == "eu-west-1"
    assert function_of("lambda://orders").region is None


def test_an_event_is_handed_over_without_waiting() -> None:
    assert function_of("LAMBDA://orders:live?invocation=event").event
    assert parse("LAMBDA://orders:live?invocation=event").url == "lambda://orders:live?invocation=event"
    assert not function_of("lambda://orders").event


@pytest.mark.parametrize(
    "url",
    [
        "lambda://",
        "lambda://:live",
        "lambda://orders:",
        "lambda://orders/path",
        "lambda://orders.example",
        "lambda://user@orders",
        "lambda://orders#top",
        "lambda://ord ers",
        "lambda://orders:live:17",
        "lambda://" + "x" * 65,
        "lambda://arn:aws:s3:::bucket",
        "lambda://12345:function:orders",
    ],
)
def test_what_names_no_function_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidTarget, match="lambda://name:alias"):
        parse(url)


@pytest.mark.parametrize("query", ["?", "?invocation=Event", "?invocation=event&x=1", "?qualifier=live"])
def test_an_option_that_does_not_exist_is_refused(query: str) -> None:
    with pytest.raises(InvalidTarget, match="only \\?invocation=event"):
        parse(f"lambda://orders{query}")


def test_a_function_is_no_place_to_tell_or_ask() -> None:
    with pytest.raises(InvalidTarget, match="/webhookUrl: a function can be the target of a task alone"):
        parse_target("lambda://orders", pointer="/webhookUrl")


def test_a_function_without_its_endpoint_leads_nowhere() -> None:
    assert parse("lambda://orders").port == 0


@pytest.mark.parametrize("body", [None, b"", b"{}", b"[1]", b'"x"', b" 7 "])
def test_a_function_takes_json_or_nothing(body: bytes | None) -> None:
    check_invocation(method="POST", headers=[("Idempotency-Key", "k"), ("X-Amz-Log-Type", "Tail")], body=body)


@pytest.mark.parametrize("body", [b"plain", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidTask, match="/body: a function takes JSON"):
        check_invocation(method="POST", headers=[], body=body)


def test_a_function_is_invoked_with_post_alone() -> None:
    with pytest.raises(InvalidTask, match="/method: a function is invoked with POST"):
        check_invocation(method="PUT", headers=[], body=None)


def test_headers_that_would_never_arrive_are_refused() -> None:
    with pytest.raises(InvalidTask, match="/headers/X-Tenant: Lambda passes no such header"):
        check_invocation(method="POST", headers=[("X-Tenant", "7")], body=None)


def test_a_function_is_invoked_where_the_operator_says() -> None:
    service = LambdaEndpoint.parse("eu-west-1", "http://[::1]:4566")
    target = service.target(function_of("lambda://orders:live"))
    assert (target.scheme, target.host, target.port) == ("http", "::1", 4566)
    assert target.path == "/2015-03-31/functions/orders/invocations?Qualifier=live"
    assert target.lambda_function == function_of("lambda://orders:live")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "lambda.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "lambda.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "lambda.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_amazons_own_address_follows_from_the_region(region: str, host: str) -> None:
    assert LambdaEndpoint.parse(region).base.url == f"https://{host}"


def test_only_the_endpoint_itself_is_trusted() -> None:
    allowed = LambdaEndpoint.parse("eu-west-1", "http://10.0.0.7:4566").allowed
    check_spelling(parse_target("http://10.0.0.7:4566/"), allowed)
    assert allowed == AllowedTargets.parse("10.0.0.7:4566")


@pytest.mark.parametrize("url", ["ftp://x", "https://x.example/path", "https://x.example/?q", "lambda://orders"])
def test_an_endpoint_is_a_host_and_nothing_else(url: str) -> None:
    with pytest.raises(ValueError, match=r"https?://"):
        LambdaEndpoint.parse("eu-west-1", url)


def test_a_region_is_told_from_other_text() -> None:
    assert is_region("eu-west-1")
    assert not any(map(is_region, ("", "x", "eu west", "EU-WEST-1", "a" * 41, "-eu", "eu-", "evil.example/")))


def test_a_function_of_another_region_is_not_invoked_here() -> None:
    service = LambdaEndpoint.parse("us-east-1")
    assert "eu-west-1" in (service.elsewhere(function_of(f"lambda://{ARN}")) or "")
    assert service.elsewhere(function_of(f"lambda://{ARN.replace('eu-west-1', 'us-east-1')}")) is None
    assert service.elsewhere(function_of("lambda://orders")) is None
