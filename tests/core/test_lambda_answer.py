"""What AWS Lambda answers, in the words of its own documents and runtimes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.core.answer import read_answer
from taskqueue.core.lambda_answer import MAX_LINE, MAX_LINES, MAX_MESSAGE, MAX_TYPE
from taskqueue.core.outcome import CLASSES, Outcome, Partial, Response, Timings
from taskqueue.core.text import clean
from tests.core.examples import answered

MIB = 2**20
REQUEST = "RequestId: 3a1b4f0c-5d2e-4b7a-9a53-2f0d3e1c7b11"


def failed(report: Any, said: str = "Unhandled") -> Outcome:
    """Of a function whose error document is ``report``."""
    body = report if isinstance(report, bytes) else json.dumps(report).encode()
    return answered(200, headers=(("x-amz-function-error", said),), body=body)


def refused(
    status: int, *, header: str | None = None, body: bytes = b"{}", invoked: bool = True, **headers: str
) -> Outcome:
    """Of a call of Invoke, or of anybody else."""
    given = tuple(headers.items()) + ((("x-amzn-errortype", header),) if header is not None else ())
    response = Response(status=status, headers=given, body=body)
    return read_answer(response, complete=True, timings=Timings(), bytes_sent=1, bytes_received=1, invoked=invoked)


EXITED = f"{REQUEST} Error: Runtime exited with error:"
TIMED_OUT = "Task timed out after 3.00 seconds"
TOO_LARGE = "maximum allowed payload size (6291556 bytes)."
# Error type and message, as they stand in the error document.
FUNCTION_ERRORS: dict[str, list[tuple[str | None, str]]] = {
    "function_error": [
        ("ValueError", "no such account"),
        ("Runtime.UnmarshalError", "Unable to unmarshal input: Expecting value"),
        ("Runtime.Unknown", "Unknown application error occurred"),
        ("Function<RuntimeError>", "no"),
        ("java.lang.ClassNotFoundException", "com.example.Driver"),
        ("PaymentError", "payload size exceeded what they take"),
        (None, "I failed!"),
    ],
    "function_timeout": [
        (None, f"2026-03-01T12:00:00.000Z {REQUEST} {TIMED_OUT}"),
        ("Sandbox.Timedout", f"{REQUEST} Error: {TIMED_OUT}"),
        ("Sandbox.Timedout", ""),
        ("Runtime.ExitError", f"{EXITED} signal: killed; {TIMED_OUT}"),
    ],
    "function_out_of_memory": [
        ("Runtime.ExitError", f"{EXITED} signal: killed"),
        (None, f"{EXITED} signal: killed"),
        ("Runtime.OutOfMemory", f"{EXITED} signal: killed"),
        ("java.lang.OutOfMemoryError", "Java heap space"),
    ],
    "function_crashed": [
        ("Runtime.ExitError", f"{EXITED} exit status 1"),
        ("Runtime.ExitError", f"{EXITED} signal: segmentation fault"),
        ("Runtime.ExitError", ""),
        (None, f"{REQUEST} Process exited before completing request"),
        ("Extension.Crash", "exit code 0"),
    ],
    "function_init_failed": [
        ("Runtime.ImportModuleError", "Unable to import module 'app': No module named 'requests'"),
        ("Runtime.HandlerNotFound", "Handler 'handle' missing on module 'app'"),
        ("Runtime.UserCodeSyntaxError", "Syntax error in module 'app': invalid syntax"),
        ("Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack"),
        ("Runtime.InvalidEntrypoint", f"{REQUEST} Error: fork/exec /lambda-entrypoint.sh: exec format error"),
        ("Extension.InitError", ""),
        ("Init<LoadError>", "cannot load such file -- app"),
        ("java.lang.ClassNotFoundException", "Class not found: example.Handler"),
        (None, "Unable to import module 'lambda_funxction'"),
        (None, "Handler 'lambda_handlerx' missing on module 'lambda_function'"),
        ("Sandbox.Timedout", "the init phase: Task timed out after 10.00 seconds"),
    ],
    "function_bad_result": [
        ("Runtime.MarshalError", "Unable to marshal response: Object of type datetime is not JSON serializable"),
        ("Function.ResponseSizeTooLarge", f"Response payload size exceeded {TOO_LARGE}"),
        (None, f"Response payload size (7000002 bytes) exceeded {TOO_LARGE}"),
    ],
}
EACH_FUNCTION_ERROR = pytest.mark.parametrize(
    ("cls", "kind", "message"), [(cls, *report) for cls, reports in FUNCTION_ERRORS.items() for report in reports]
)


@EACH_FUNCTION_ERROR
def test_what_happened_to_a_function_is_read_from_its_error_document(cls: str, kind: str | None, message: str) -> None:
    outcome = failed({"errorMessage": message, **({"errorType": kind} if kind else {})})
    assert outcome.cls is CLASSES[cls]
    assert outcome.error_type == (kind or "X-Amz-Function-Error")
    assert outcome.error_message == (message or "the target answered 200, but its function failed (Unhandled)")


@pytest.mark.parametrize("kind", ["Exception", "TimeoutError", "example.Timedout"])
def test_an_exception_that_speaks_of_a_timeout_is_an_exception(kind: str) -> None:
    outcome = failed({"errorType": kind, "errorMessage": f"{TIMED_OUT} in the init phase of the export"})
    assert (outcome.cls.name, outcome.error_type) == ("function_error", kind)


@EACH_FUNCTION_ERROR
def test_an_error_that_the_function_handled_is_its_own(cls: str, kind: str | None, message: str) -> None:
    assert failed({"errorMessage": message, "errorType": kind}, said=" handled").cls.name == "function_handled_error"


UNREADABLE = {
    "nothing": b"",
    "text": b"Internal Server Error",
    "cut off": b'{"errorType": "Runtime.Exi',
    "no object": b'["Runtime.ExitError"]',
    "compressed": b"\x1f\x8b\x08\x00",
    "a million brackets": b'{"errorType":' + b"[" * MIB,
    "a million digits": b'{"errorType":' + b"9" * MIB + b"}",
    "other names": b'{"type": "ValueError", "message": "no"}',
    "no texts": b'{"errorType": {"a": 1}, "errorMessage": [], "stackTrace": 7, "cause": "none"}',
    "empty texts": b'{"errorType": "", "errorMessage": " \\n ", "stackTrace": ["", " \\n"]}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_where_the_body_says_nothing_the_header_says_enough(body: bytes) -> None:
    outcome = failed(body)
    assert (outcome.cls.name, outcome.error_type, outcome.stack) == ("function_error", "X-Amz-Function-Error", ())
    assert outcome.error_message == "the target answered 200, but its function failed (Unhandled)"


def test_scalars_that_are_no_texts_are_written_as_json() -> None:
    outcome = failed(b'{"errorType": 404, "errorMessage": true}')
    assert (outcome.error_type, outcome.error_message) == ("404", "true")


STACKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Python": (
        ['  File "/var/task/app.py", line 3, in handler\n    raise ValueError("no")\n'],
        ('  File "/var/task/app.py", line 3, in handler', '    raise ValueError("no")'),
    ),
    "an older Python": (
        [["/var/task/app.py", 3, "handler", "raise Exception('no')"]],
        ("/var/task/app.py, 3, handler, raise Exception('no')",),
    ),
    "Java": (["example.Handler.run(Handler.java:11)"], ("example.Handler.run(Handler.java:11)",)),
    "Go": ([{"path": "app/main.go", "line": 9, "label": "main.handle"}], ("app/main.go, 9, main.handle",)),
    "one text": ("at one\nat two\r\n\nat three", ("at one", "at two", "at three")),
    "a mixture": (["one", None, 2, [], {}, [None, {"a": 1}], "three"], ("one", "three")),
}


@pytest.mark.parametrize("name", ["stackTrace", "trace"])
@pytest.mark.parametrize(("trace", "lines"), STACKS.values(), ids=STACKS.keys())
def test_a_stack_trace_is_read_as_each_runtime_writes_it(name: str, trace: Any, lines: tuple[str, ...]) -> None:
    assert failed({"errorType": "E", "errorMessage": "m", name: trace}).stack == lines


def test_causes_follow_below() -> None:
    inner = {"errorMessage": "connection reset", "errorType": "java.io.IOException", "stackTrace": ["c", "d"]}
    middle = {"errorMessage": "", "errorType": "example.Wrapped", "stackTrace": ["b"], "cause": inner}
    outcome = failed({"errorMessage": "m", "errorType": "E", "stackTrace": ["a"], "cause": middle})
    assert outcome.stack == (
        *("a", "Caused by: example.Wrapped", "b"),
        *("Caused by: java.io.IOException: connection reset", "c", "d"),
    )


def test_what_goes_on_record_is_short_and_fit_to_store() -> None:
    long = "x\x00\u2028\n" * 5000
    outcome = failed({"errorType": long, "errorMessage": long, "stackTrace": [long] * 100, "cause": {"trace": long}})
    assert outcome.error_type is not None
    assert outcome.error_message is not None
    assert (
        (MAX_TYPE - 1, MAX_MESSAGE - 1)
        <= (len(outcome.error_type), len(outcome.error_message))
        <= (MAX_TYPE, MAX_MESSAGE)
    )
    assert len(outcome.stack) == MAX_LINES
    one = failed({"stackTrace": ["y" * 5000, "\ud800z"]})
    assert one.stack == ("y" * MAX_LINE, " z")
    for text in (outcome.error_type, outcome.error_message, *outcome.stack):
        assert text.isprintable()


def test_a_cause_without_end_is_left_at_some_depth() -> None:
    report: dict[str, Any] = {"errorType": "E", "stackTrace": ["at"]}
    for _ in range(200):
        report = {"errorType": "E", "cause": report}
    assert len(failed(report).stack) == 10


HOSTILE = {
    "a stack of a hundred thousand lines": {"stackTrace": ["at x"] * 100_000},
    "one line of a million characters": {"stackTrace": "x" * MIB},
    "a million line breaks": {"stackTrace": "\n" * MIB, "trace": "\n"},
    "a frame of many parts": {"stackTrace": [dict.fromkeys(map(str, range(100_000)), 1)] * 2},
    "messages that nearly match": {"errorMessage": "Task timed out after " * 50_000, "errorType": "Runtime.ExitError"},
    "handlers without end": {"errorMessage": "Handler '" * 100_000},
}


@pytest.mark.parametrize("report", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_report_costs_more_than_its_length(report: dict[str, Any]) -> None:
    body = json.dumps(report).encode()
    began = time.process_time()
    outcome = failed(body)
    assert time.process_time() - began < 2
    assert sum(map(len, outcome.stack)) <= MAX_LINES * MAX_LINE


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
KEYS = st.sampled_from(["errorType", "errorMessage", "stackTrace", "trace", "cause", "Message", "__type", "Type"])
REPORTS = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES))


@given(REPORTS.map(lambda value: json.dumps(value).encode()) | st.binary(), st.sampled_from([200, 403, 404, 502]))
def test_no_body_breaks_the_reading(body: bytes, status: int) -> None:
    outcome = failed(body) if status == 200 else refused(status, body=body)
    texts = [outcome.error_type or "", outcome.error_message or "", *outcome.stack]
    assert all(clean(text, MAX_MESSAGE) == text for text in texts)
    assert outcome.error_type


REFUSALS = {
    "throttled": ("TooManyRequestsException", "ThrottlingException"),
    "service_error": ("ServiceException",),
    "bad_request": (
        *("InvalidRequestContentException", "InvalidParameterValueException", "RequestTooLargeException"),
        *("UnsupportedMediaTypeException", "RecursiveInvocationException", "ModeNotSupportedException"),
    ),
    "function_config": (
        *("ResourceNotFoundException", "InvalidZipFileException", "InvalidRuntimeException", "KMSDisabledException"),
        *("KMSAccessDeniedException", "KMSNotFoundException", "KMSInvalidStateException", "InvalidSubnetIDException"),
        *("InvalidSecurityGroupIDException", "EC2AccessDeniedException", "SnapStartException"),
    ),
    "function_not_ready": (
        *("ResourceConflictException", "ResourceNotReadyException", "ENILimitReachedException", "ENINotReadyException"),
        *("SubnetIPAddressLimitReachedException", "EC2ThrottledException", "EC2UnexpectedException"),
        *("EFSMountConnectivityException", "EFSMountTimeoutException", "EFSMountFailureException", "EFSIOException"),
        *("SnapStartNotReadyException", "SnapStartTimeoutException"),
    ),
    "conflict": ("DurableExecutionAlreadyStartedException",),
}
EACH_REFUSAL = pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls, names in REFUSALS.items() for name in names]
)


@EACH_REFUSAL
@pytest.mark.parametrize("suffix", ["", ":http://internal.amazon.com/coral/com.amazonaws.awsgirapi/", ":"])
def test_a_refusal_is_read_from_its_header_whoever_was_called(cls: str, name: str, suffix: str) -> None:
    for invoked in (True, False):
        outcome = refused(502, header=name + suffix, invoked=invoked)
        assert (outcome.cls, outcome.error_type) == (CLASSES[cls], name)
        assert outcome.error_message == f"the target answered 502 ({name})"


@EACH_REFUSAL
@pytest.mark.parametrize(
    "body",
    ['{"__type": "%s"}', '{"__type": "com.amazonaws.lambda#%s"}', '{"Type": "%s"}', '{"Type": "User", "__type": "%s"}'],
)
def test_a_refusal_of_invoke_is_read_from_its_body_too(cls: str, name: str, body: str) -> None:
    outcome = refused(502, body=(body % name).encode())
    assert (outcome.cls.name, outcome.error_type) == (cls, name)
    elsewhere = refused(502, body=(body % name).encode(), invoked=False)
    assert (elsewhere.cls.name, elsewhere.error_type) == ("bad_gateway", "HTTPStatus")


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        *[(400, "bad_request"), (413, "bad_request"), (415, "bad_request"), (403, "function_config")],
        *[(404, "function_config"), (409, "function_not_ready"), (429, "throttled"), (500, "service_error")],
        *[(502, "bad_gateway"), (503, "unavailable"), (504, "gateway_timeout"), (301, "redirect")],
    ],
)
@pytest.mark.parametrize("header", [None, "AccessDeniedException", "", "no name: at all", "x" * 5000, "\xe9"])
def test_a_refusal_of_invoke_without_a_known_name_is_read_from_its_status(
    status: int, cls: str, header: str | None
) -> None:
    outcome = refused(status, header=header, body=b'{"Type": "User"}')
    assert outcome.cls.name == cls
    assert outcome.error_type == ("AccessDeniedException" if header == "AccessDeniedException" else "HTTPStatus")


@pytest.mark.parametrize("header", [None, "ForbiddenException", "InternalServerErrorException"])
def test_whoever_is_not_lambda_is_read_by_its_status(header: str | None) -> None:
    for status, cls in [(404, "not_found"), (403, "unauthorized"), (409, "conflict"), (500, "server_error")]:
        outcome = refused(status, header=header, invoked=False, body=b'{"__type": "ServiceException"}')
        assert (outcome.cls.name, outcome.error_type) == (cls, "HTTPStatus")


@pytest.mark.parametrize("key", ["Message", "message"])
def test_what_lambda_says_of_a_refusal_goes_on_record(key: str) -> None:
    body = json.dumps({key: "Function not found: arn:aws:lambda:x:function:shop", "Type": "User"}).encode()
    outcome = refused(404, header="ResourceNotFoundException", body=body)
    assert outcome.error_message == "Function not found: arn:aws:lambda:x:function:shop"


def test_a_request_that_is_repeated_in_its_refusal_does_not_go_on_record() -> None:
    said = "The signature does not match.\n\nThe Canonical String should have been\nx-amz-security-token:SECRET"
    outcome = refused(403, header="InvalidSignatureException", body=json.dumps({"message": said}).encode())
    assert outcome.error_message == "The signature does not match."


def test_only_what_failed_half_way_may_have_done_something() -> None:
    for cls in ("throttled", "service_error", "bad_request", "function_config", "function_not_ready"):
        assert CLASSES[cls].partial is Partial.NO
    assert failed({"errorType": "Sandbox.Timedout"}).partial is Partial.LIKELY
    assert failed({"errorType": "Runtime.ImportModuleError"}).partial is Partial.NO


def test_a_refusal_can_be_steered_like_any_answer() -> None:
    outcome = refused(404, header="ResourceNotFoundException", **{"taskqueue-control": "retry"})
    assert (outcome.cls.name, outcome.forced_retry) == ("function_config", True)
    assert refused(500, **{"taskqueue-control": "abort"}).cls.name == "aborted"


@pytest.mark.parametrize(("status", "cls"), [(400, "bad_request"), (500, "server_error"), (502, "bad_gateway")])
def test_an_error_that_anybody_reports_in_this_form_names_the_failure_of_its_status(status: int, cls: str) -> None:
    report = {"errorType": "CardDeclined", "errorMessage": "no funds", "stackTrace": ["pay.py, line 3"]}
    outcome = refused(status, body=json.dumps(report).encode(), invoked=False)
    assert (outcome.cls.name, outcome.error_type, outcome.error_message) == (cls, "CardDeclined", "no funds")
    assert outcome.stack == ("pay.py, line 3",)


def test_a_report_without_a_message_tells_of_the_status() -> None:
    outcome = refused(500, body=b'{"errorType": "CardDeclined"}', invoked=False)
    assert outcome.error_message == "the target answered 500 (CardDeclined)"


@pytest.mark.parametrize("body", [b'{"errorType": null}', b'["errorType"]', b'{"errorType": "cut', b"{}"])
def test_what_reports_nothing_leaves_the_status(body: bytes) -> None:
    outcome = refused(500, body=body, invoked=False)
    assert (outcome.error_type, outcome.error_message) == ("HTTPStatus", "the target answered 500")


def test_a_success_reports_nothing() -> None:
    assert refused(200, body=b'{"errorType": "CardDeclined"}', invoked=False).cls.name == "success"
