"""What keeps a lambda:// task from being accepted."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from taskqueue.core.errors import InvalidTarget
from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.lambda_function import LambdaFunction, check_invocation
from taskqueue.delivery.lambda_keys import EXTRA, NO_REGION


def check_lambda(
    function: LambdaFunction,
    endpoint: LambdaEndpoint | None,
    *,
    method: str,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
) -> None:
    """Raise ``InvalidTask`` unless ``function`` can be invoked here and so; its pointer is relative to the task.

    Whether there are credentials is for the worker to find out: only it needs them, and looking may take seconds.
    """
    if find_spec("botocore") is None:
        raise InvalidTarget("/targetUrl", EXTRA)
    if endpoint is None:
        raise InvalidTarget("/targetUrl", NO_REGION)
    if (elsewhere := endpoint.elsewhere(function)) is not None:
        raise InvalidTarget("/targetUrl", elsewhere)
    check_invocation(method=method, headers=headers, body=body)
