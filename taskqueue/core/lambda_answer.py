"""What AWS Lambda answers: a function that failed behind a 200, and an Invoke API that refused to start one.

Names as in the Invoke API's list of errors, the runtime interface clients and the runtime emulator of AWS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from taskqueue.core.json_body import NotJson, read_json
from taskqueue.core.outcome import Response
from taskqueue.core.text import clean

MAX_TYPE = 200
MAX_MESSAGE = 2000
MAX_LINES = 50
MAX_LINE = 500
_MAX_CAUSES = 10

_REFUSALS: Mapping[str, str] = {
    **dict.fromkeys(("TooManyRequestsException", "ThrottlingException", "Throttling"), "throttled"),
    "ServiceException": "service_error",
    **dict.fromkeys(
        (
            *("InvalidRequestContentException", "InvalidParameterValueException", "RequestTooLargeException"),
            *("SerializedRequestEntityTooLargeException", "UnsupportedMediaTypeException"),
            *("ModeNotSupportedException", "RecursiveInvocationException"),
        ),
        "bad_request",
    ),
    **dict.fromkeys(
        (
            *("ResourceNotFoundException", "NoPublishedVersionException", "InvalidRuntimeException"),
            *("InvalidZipFileException", "InvalidSecurityGroupIDException", "InvalidSubnetIDException"),
            *("EC2AccessDeniedException", "KMSAccessDeniedException", "KMSDisabledException"),
            *("KMSInvalidStateException", "KMSNotFoundException", "CodeArtifactUserFailedException"),
            *("RuntimeAliasDeletedException", "RuntimeVersionDeletedException"),
            *("SnapStartException", "SnapStartRegenerationFailureException"),
        ),
        "function_config",
    ),
    **dict.fromkeys(
        (
            *("ResourceConflictException", "ResourceNotReadyException", "ServiceQuotaExceededException"),
            *("ENILimitReachedException", "ENINotReadyException", "SubnetIPAddressLimitReachedException"),
            *("EC2ThrottledException", "EC2UnexpectedException", "EFSIOException"),
            *("EFSMountConnectivityException", "EFSMountFailureException", "EFSMountTimeoutException"),
            *("S3FilesMountConnectivityException", "S3FilesMountFailureException", "S3FilesMountTimeoutException"),
            *("SnapStartNotReadyException", "SnapStartTimeoutException"),
            *("CodeArtifactUserDeletedException", "CodeArtifactUserPendingException"),
        ),
        "function_not_ready",
    ),
    # A durable execution of this name has begun: most likely by an earlier attempt.
    "DurableExecutionAlreadyStartedException": "conflict",
}
# Of the Invoke API alone, where it gives no name that is known.
_REFUSALS_BY_STATUS: Mapping[int, str] = {
    **dict.fromkeys((413, 415), "bad_request"),
    **dict.fromkeys((403, 404), "function_config"),
    409: "function_not_ready",
    500: "service_error",
}

_FUNCTION_ERRORS: Mapping[str, str] = {
    **dict.fromkeys(
        ("Sandbox.Timedout", "Sandbox.Timeout", "Sandbox.TimeoutResponseTrailer", "Runtime.InvokeTimeout"),
        "function_timeout",
    ),
    **dict.fromkeys(
        (
            *("Runtime.ImportModuleError", "Runtime.HandlerNotFound", "Runtime.UserCodeSyntaxError"),
            *("Runtime.MalformedHandlerName", "Runtime.BuiltInModuleConflict", "Runtime.BadFunctionCode"),
            *("Runtime.InvalidEntrypoint", "Runtime.InvalidWorkingDir", "Runtime.InvalidTaskConfig"),
            *("Runtime.InitError", "Runtime.InitTimeout", "Runtime.BeforeSnapshotError", "Runtime.AfterRestoreError"),
            *("Extension.InitError", "Extension.LaunchError", "TooManyExtensions"),
        ),
        "function_init_failed",
    ),
    **dict.fromkeys(
        (
            *("Runtime.MarshalError", "Runtime.TruncatedResponse", "Runtime.InvalidResponseModeHeader"),
            "Function.ResponseSizeTooLarge",
        ),
        "function_bad_result",
    ),
    **dict.fromkeys(
        ("Runtime.ExitError", "Extension.Crash", "Extension.ExitError", "Sandbox.Failure"), "function_crashed"
    ),
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,199}")
_TIMED_OUT = re.compile(r"Task timed out after [0-9]")
_IN_INIT = re.compile(r"init phase|initializ|during init", re.IGNORECASE)
# How runtimes said it before they gave each error a type.
_OLD_INIT = re.compile(
    r"Unable to import module|Handler '[^']*' missing on module|[Ss]yntax error in module|Bad handler"
)
_OLD_EXIT = re.compile(r"Runtime exited|[Pp]rocess exited before completing")


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong: the name of the outcome class, and what goes on record with it."""

    cls: str
    type: str
    message: str
    stack: tuple[str, ...] = ()


def function_fault(response: Response, said: str) -> Fault:
    """Of an answer whose ``X-Amz-Function-Error`` header said ``said``. The body tells more, if it can be read."""
    report = _object(response.body)
    type_, message = _text(report.get("errorType"), MAX_TYPE), _text(report.get("errorMessage"), MAX_MESSAGE)
    handled = said.strip().lower() == "handled"
    return Fault(
        cls="function_handled_error" if handled else _class_of_error(type_ or "", message or ""),
        type=type_ or "X-Amz-Function-Error",
        message=message or f"the target answered {response.status}, but its function failed ({clean(said, 100)})",
        stack=tuple(islice(_stack(report), MAX_LINES)),
    )


def refusal(response: Response, by_status: str, *, invoked: bool) -> Fault | None:
    """Of an answer that is no success, if it is a refusal by the Invoke API; ``by_status`` names its class otherwise.

    Unless Lambda was ``invoked``, only the header counts: a body may say anything.
    """
    name = _exception(response.header("x-amzn-errortype"))
    if not invoked:
        known = _REFUSALS.get(name or "")
        return _refused(response, known, name, {}) if known else None
    report = _object(response.body)
    if name is None:
        # Some say in `Type` whose fault it was, others what it is called.
        names = (_exception(report.get("__type")), _exception(report.get("Type")))
        name = next((each for each in names if each in _REFUSALS), names[0])
    cls = _REFUSALS.get(name or "") or _REFUSALS_BY_STATUS.get(response.status, by_status)
    return _refused(response, cls, name, report)


def reported(response: Response, cls: str) -> Fault | None:
    """Of a failure whose body tells of an error in the form of Lambda, as gateways, function URLs and many others pass
    it on; ``None`` where it does not. ``cls`` is that of its status, and stays."""
    if b'"errorType"' not in response.body:
        return None
    report = _object(response.body)
    type_ = _text(report.get("errorType"), MAX_TYPE)
    if type_ is None:
        return None
    message = _text(report.get("errorMessage"), MAX_MESSAGE) or f"the target answered {response.status} ({type_})"
    return Fault(cls, type_, message, tuple(islice(_stack(report), MAX_LINES)))


def _refused(response: Response, cls: str, name: str | None, report: Mapping[str, object]) -> Fault:
    said = report.get("Message") or report.get("message")
    # Of a signature that does not match, Amazon repeats the whole request, keys and all, below the first line.
    said = _text(said[:MAX_MESSAGE].strip().partition("\n")[0], MAX_MESSAGE) if isinstance(said, str) else None
    return Fault(cls, name or "HTTPStatus", said or f"the target answered {response.status}{f' ({name})' * bool(name)}")


def _class_of_error(type_: str, message: str) -> str:
    """The class of a function error by the words of the platform. An exception's own type says nothing here."""
    platform = not type_ or type_.startswith(("Runtime.", "Sandbox.", "Function.", "Extension."))
    named = _FUNCTION_ERRORS.get(type_)
    if type_.startswith("Init<") or (not type_ and _OLD_INIT.match(message)):
        return "function_init_failed"
    if type_ == "java.lang.ClassNotFoundException" and message.startswith("Class not found: "):
        return "function_init_failed"
    # Of an exception with a type of its own, a message that reads so is the function's: it has ended by itself.
    if platform and (named == "function_timeout" or _TIMED_OUT.search(message)):
        return "function_init_failed" if _IN_INIT.search(message) else "function_timeout"
    if "OutOfMemory" in type_:
        return "function_out_of_memory"
    if named == "function_crashed" or (not type_ and _OLD_EXIT.search(message)):
        return "function_out_of_memory" if "signal: killed" in message else "function_crashed"
    if platform and "payload size" in message and "exceeded" in message:
        return "function_bad_result"
    return named or "function_error"


def _exception(value: object) -> str | None:
    """The bare name in ``Name``, ``Name:http://…`` or ``com.example#Name``."""
    if not isinstance(value, str):
        return None
    name = value[:1000].partition(":")[0].rpartition("#")[2].strip()
    return name if _NAME.fullmatch(name) else None


def _object(body: bytes) -> Mapping[str, object]:
    """The JSON object in ``body``; an empty one where there is none."""
    try:
        value = read_json(body)
    except NotJson:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object, limit: int) -> str | None:
    """A scalar as text that is fit to store; ``None`` for what is empty or no scalar."""
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    return clean(value, limit).strip() or None if isinstance(value, str) else None


def _stack(report: Mapping[str, object]) -> Iterator[str]:
    """Lines of the stack trace, then those of what caused it, as each runtime writes them."""
    for _ in range(_MAX_CAUSES):
        yield from _lines(report.get("stackTrace") or report.get("trace"))
        cause = report.get("cause")
        if not isinstance(cause, dict):
            return
        report = cause
        what = (_text(report.get("errorType"), MAX_TYPE), _text(report.get("errorMessage"), MAX_MESSAGE))
        yield clean(f"Caused by: {': '.join(filter(None, what))}", MAX_LINE)


def _lines(trace: object) -> Iterator[str]:
    entries = trace if isinstance(trace, list) else [trace]
    for entry in entries[:MAX_LINES]:
        # Cut before it is split: a single entry may be all of the body.
        for line in _frame(entry)[: MAX_LINES * MAX_LINE].splitlines():
            if line.strip():
                yield clean(line, MAX_LINE).rstrip()


def _frame(entry: object) -> str:
    """A line as it is; of a frame in parts, those parts that can be read."""
    if isinstance(entry, str):
        return entry
    parts = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ()
    return ", ".join(text for part in islice(parts, 10) if (text := _text(part, MAX_LINE)))
