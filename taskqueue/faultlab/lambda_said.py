"""What Lambda's Invoke says, word for word as Amazon's own does."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue.faultlab.stage import Performance, Play, Stage
from taskqueue.faultlab.wire import Headers

REQUEST_ID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
LIMIT_BYTES = 6_291_556  # of an answer

# Before any code ran: each exception of Invoke with its status (Lambda API reference, "Invoke").
EXCEPTIONS: Mapping[str, int] = {
    **dict.fromkeys(("InvalidParameterValueException", "InvalidRequestContentException"), 400),
    **dict.fromkeys(("RecursiveInvocationException", "SnapStartException"), 400),
    **dict.fromkeys(("AccessDeniedException", "EFSMountFailureException"), 403),
    "ResourceNotFoundException": 404,
    **dict.fromkeys(("EFSMountConnectivityException", "EFSMountTimeoutException", "SnapStartTimeoutException"), 408),
    **dict.fromkeys(("ResourceConflictException", "SnapStartNotReadyException"), 409),
    "EFSIOException": 410,
    "RequestTooLargeException": 413,
    "UnsupportedMediaTypeException": 415,
    "TooManyRequestsException": 429,
    "ServiceException": 500,
    **dict.fromkeys(("EC2AccessDeniedException", "EC2ThrottledException", "EC2UnexpectedException"), 502),
    **dict.fromkeys(("ENILimitReachedException", "SubnetIPAddressLimitReachedException"), 502),
    **dict.fromkeys(("InvalidSecurityGroupIDException", "InvalidSubnetIDException"), 502),
    **dict.fromkeys(("InvalidRuntimeException", "InvalidZipFileException", "ResourceNotReadyException"), 502),
    **dict.fromkeys(("KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException"), 502),
    "KMSNotFoundException": 502,
}
_MESSAGES = {
    "InvalidRequestContentException": "Could not parse request body into json: Unexpected character",
    "RequestTooLargeException": "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
    "ResourceConflictException": "The operation cannot be performed at this time. The function is currently in the"
    " following state: Pending",
    "ResourceNotFoundException": "Function not found: arn:aws:lambda:eu-west-1:000000000000:function:missing",
    "TooManyRequestsException": "Rate Exceeded.",
}


@dataclass(frozen=True, slots=True)
class LambdaAnswer:
    """One answer of Invoke."""

    status: int = 200
    body: bytes = b""
    function_error: str | None = None  # Handled or Unhandled
    exception: str | None = None  # of the service itself

    @property
    def headers(self) -> Headers:
        named = (
            ("Content-Type", "application/json"),
            ("X-Amzn-RequestId", REQUEST_ID),
            ("X-Amz-Executed-Version", "$LATEST" if self.exception is None else None),
            ("X-Amz-Function-Error", self.function_error),
            ("X-Amzn-ErrorType", self.exception),
        )
        return tuple((name, value) for name, value in named if value is not None)


def refused(exception: str, message: str | None = None, *, status: int | None = None) -> LambdaAnswer:
    """The service itself refuses, before any code ran."""
    known = status or EXCEPTIONS[exception]
    said: dict[str, Any] = {"Message": message or _MESSAGES.get(exception, exception)}
    said["Type"] = "Service" if known >= 500 else "User"
    if exception == "TooManyRequestsException":
        said["Reason"] = "ReservedFunctionConcurrentInvocationLimitExceeded"
    return LambdaAnswer(known, json.dumps(said).encode(), exception=exception)


def function_failed(error_type: str | None, message: str, stack: tuple[str, ...] = ()) -> LambdaAnswer:
    """The function failed; the status is 200 all the same."""
    said: dict[str, Any] = {"errorMessage": message}
    if error_type is not None:
        said["errorType"] = error_type
    if stack:
        said |= {"requestId": REQUEST_ID, "stackTrace": list(stack)}
    return LambdaAnswer(body=json.dumps(said).encode(), function_error="Unhandled")


def exited(code: int, request_id: str = REQUEST_ID) -> LambdaAnswer:
    """The function's process ended before it answered; ``code`` as Python gives it, negative for a signal."""
    how = f"exit status {code}" if code > 0 else f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"
    said = f"with error: {how}" if code else "without providing a reason"
    return function_failed("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited {said}")


def timed_out(seconds: float, request_id: str = REQUEST_ID) -> LambdaAnswer:
    """The function was stopped at its time limit."""
    text = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
    return function_failed("Sandbox.Timedout", text)


def too_long(size: int) -> LambdaAnswer:
    """The function returned more than Lambda carries."""
    text = f"Response payload size ({size} bytes) exceeded maximum allowed payload size ({LIMIT_BYTES} bytes)."
    return function_failed("Function.ResponseSizeTooLarge", text)


# One answer for each class, said without a function behind it.
BY_CLASS: Mapping[str, LambdaAnswer] = {
    "throttled": refused("TooManyRequestsException"),
    "service_error": refused("ServiceException"),
    "bad_request": refused("InvalidRequestContentException"),
    "too_large": refused("RequestTooLargeException"),
    "function_config": refused("ResourceNotFoundException"),
    "function_not_ready": refused("ResourceConflictException"),
    "function_handled_error": LambdaAnswer(
        body=b'{"errorMessage": "the card was declined", "errorType": "CardDeclined"}', function_error="Handled"
    ),
    "function_error": function_failed(
        "ZeroDivisionError", "division by zero", ('  File "/var/task/app.py", line 7, in handler\n    1 / 0\n',)
    ),
    "function_timeout": timed_out(3),
    "function_out_of_memory": exited(-signal.SIGKILL),
    "function_crashed": exited(1),
    "function_init_failed": function_failed(
        "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'requests'"
    ),
    "function_bad_result": function_failed(
        "Runtime.MarshalError", "Unable to marshal response: Object of type set is not JSON serializable"
    ),
}


def said() -> Iterator[tuple[str, Play]]:
    """Plays for an ordinary URL: what a function behind a URL, or a proxy of Invoke, would answer."""
    for name, answer in BY_CLASS.items():
        if answer.function_error is not None or name in ("service_error", "function_config", "function_not_ready"):
            what = answer.function_error or f"{answer.status} {answer.exception}"
            yield name, Play(name, f"answers as Lambda does: {what}, {answer.body.decode()[:60]}…", say(answer))


def say(answer: LambdaAnswer) -> Performance:
    async def perform(stage: Stage) -> None:
        await stage.answer(answer.status, answer.body, answer.headers)

    return perform
