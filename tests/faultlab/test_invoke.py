"""The Invoke endpoint: nothing runs without a signature, and what runs fails as it does in Lambda."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskqueue.faultlab.functions import Function
from taskqueue.faultlab.lambda_said import BY_CLASS, EXCEPTIONS
from tests.faultlab.aws import Caller
from tests.faultlab.running import running_lab
from tests.support.processes import children, wait_until

PATH = "/2015-03-31/functions/returns/invocations"


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with running_lab(function_seconds=2) as lab:
        yield Caller.of(lab)


def test_a_call_without_a_signature_is_refused(caller: Caller) -> None:
    status, headers, _ = caller.lab.call("POST", PATH, b"{}")
    assert (status, headers["X-Amzn-ErrorType"]) == (403, "MissingAuthenticationTokenException")


@pytest.mark.parametrize(
    ("over", "refusal"),
    [
        ({"access_key": "AKIAOTHER"}, "UnrecognizedClientException"),
        ({"secret_key": "wrong"}, "InvalidSignatureException"),
        ({"region": "us-east-1"}, "InvalidSignatureException"),
    ],
)
def test_a_call_signed_by_another_is_refused(caller: Caller, over: dict[str, str], refusal: str) -> None:
    status, headers, _ = Caller.of(caller.lab, **over).invoke("returns")
    assert (status, headers["X-Amzn-ErrorType"]) == (403, refusal)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "AWS4-HMAC-SHA256 nonsense"),
        ("X_Amz_Date", "20200101T000000Z"),
        ("X_Amz_Date", "today"),
        ("X_Amz_Invocation_Type", "Event"),
        ("X_Amz_Security_Token", "added"),
    ],
)
def test_what_was_changed_after_it_was_signed_is_refused(caller: Caller, name: str, value: str) -> None:
    headers = caller.headers(PATH, b"{}", X_Amz_Invocation_Type="RequestResponse") | {name: value}
    assert caller.lab.call("POST", PATH, b"{}", **headers)[0] == 403


@pytest.mark.parametrize(("path", "body"), [(PATH, b"[]"), (f"{PATH}?Qualifier=live", b"{}")])
def test_a_signature_is_for_one_body_and_one_place(caller: Caller, path: str, body: bytes) -> None:
    status, headers, _ = caller.lab.call("POST", path, body, **caller.headers(PATH, b"{}"))
    assert (status, headers["X-Amzn-ErrorType"]) == (403, "InvalidSignatureException")


def test_an_old_signature_is_refused(caller: Caller) -> None:
    headers = caller.headers(PATH, b"{}")
    stamp = headers["X_Amz_Date"]
    old = str(int(stamp[:4]) - 1) + stamp[4:]
    aged = {name: text.replace(stamp[:8], old[:8]) for name, text in headers.items()} | {"X_Amz_Date": old}
    _, _, body = caller.lab.call("POST", PATH, b"{}", **aged)
    assert "Signature expired" in json.loads(body)["Message"]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_every_refusal_of_lambda_can_be_had_by_its_name(caller: Caller, name: str) -> None:
    status, headers, body = caller.invoke(name)
    assert (status, headers["X-Amzn-ErrorType"]) == (EXCEPTIONS[name], name)
    assert json.loads(body)["Type"] == ("Service" if status >= 500 else "User")


@pytest.mark.parametrize("name", BY_CLASS)
def test_every_class_of_lambda_can_be_had_by_its_name(caller: Caller, name: str) -> None:
    status, headers, body = caller.invoke(name)
    answer = BY_CLASS[name]
    assert (status, body) == (answer.status, answer.body)
    assert headers["X-Amz-Function-Error"] == answer.function_error


def test_a_function_that_does_not_exist_is_not_found(caller: Caller) -> None:
    status, headers, body = caller.invoke("nothing")
    assert (status, headers["X-Amzn-ErrorType"]) == (404, "ResourceNotFoundException")
    assert json.loads(body)["Message"] == "Function not found: arn:aws:lambda:eu-west-1:000000000000:function:nothing"


def test_a_function_may_be_named_by_its_arn_and_a_qualifier(caller: Caller) -> None:
    arn = "arn%3Aaws%3Alambda%3Aeu-west-1%3A000000000000%3Afunction%3Athrottled"
    path = f"/2015-03-31/functions/{arn}/invocations?Qualifier=%24LATEST"
    assert caller.lab.call("POST", path, b"{}", **caller.headers(path, b"{}"))[0] == 429


def test_what_is_no_json_is_refused_before_anything_runs(caller: Caller) -> None:
    status, headers, _ = caller.invoke("returns", b"plain")
    assert (status, headers["X-Amzn-ErrorType"]) == (400, "InvalidRequestContentException")


def test_a_payload_chooses_any_other_play_here_too(caller: Caller) -> None:
    body = json.dumps({"play": "unavailable", "retryAfter": 3}).encode()
    status, headers, _ = caller.invoke("returns", body)
    assert (status, headers["Retry-After"]) == (503, "3")


def test_a_dry_run_runs_nothing(caller: Caller) -> None:
    assert caller.invoke("raises", X_Amz_Invocation_Type="DryRun")[0] == 204


def test_an_event_is_taken_before_the_function_has_run(caller: Caller) -> None:
    status, headers, body = caller.invoke("raises", X_Amz_Invocation_Type="Event")
    assert (status, headers["X-Amz-Function-Error"], body) == (202, None, b"")


def test_a_handler_gets_the_event_and_its_context(caller: Caller) -> None:
    context = base64.b64encode(b'{"custom": {"Idempotency-Key": "k"}}').decode()
    status, headers, body = caller.invoke("returns", b'{"n": 7}', X_Amz_Client_Context=context)
    assert (status, headers["X-Amz-Function-Error"]) == (200, None)
    said = json.loads(body)
    assert (said["event"], said["told"]) == ({"n": 7}, {"Idempotency-Key": "k"})


@pytest.mark.parametrize(
    ("name", "error_type", "message"),
    [
        ("raises", "CardDeclined", "the card was declined"),
        ("times-out", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
        ("runs-out-of-memory", "Runtime.ExitError", "Runtime exited with error: signal: killed"),
        ("exits", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("crashes", "Runtime.ExitError", "Runtime exited with error: signal: segmentation fault"),
        ("cannot-be-imported", "Runtime.ImportModuleError", "No module named 'a_module_that_is_not_there'"),
        ("has-no-handler", "Runtime.HandlerNotFound", "Handler 'no_such_handler' missing on module"),
        ("has-a-syntax-error", "Runtime.UserCodeSyntaxError", "Syntax error in module 'has_a_syntax_error'"),
        ("returns-no-json", "Runtime.MarshalError", "Unable to marshal response: Object of type set"),
        ("returns-too-much", "Function.ResponseSizeTooLarge", "Response payload size"),
    ],
)
def test_a_handler_fails_as_it_does_in_lambda(caller: Caller, name: str, error_type: str, message: str) -> None:
    for _ in range(2):  # again, in whatever is left of the process
        status, headers, body = caller.invoke(name)
        assert (status, headers["X-Amz-Function-Error"]) == (200, "Unhandled")
        said = json.loads(body)
        assert said["errorType"] == error_type
        assert message in said["errorMessage"]


def test_an_error_that_is_returned_is_a_success_to_lambda(caller: Caller) -> None:
    status, headers, body = caller.invoke("returns-an-error")
    assert (status, headers["X-Amz-Function-Error"]) == (200, None)
    assert json.loads(body)["status"] == "error"


def test_handlers_of_ones_own_run_too_and_leave_nothing_behind(tmp_path: Path) -> None:
    before = set(children(os.getpid()))
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return [context.function_name, event]\n")
    with running_lab(own={"orders": Function("app.handler", None, tmp_path)}) as lab:
        assert json.loads(Caller.of(lab).invoke("orders", b"7")[2]) == ["orders", 7]
    wait_until(lambda: set(children(os.getpid())) <= before, what="the function's process to end")
