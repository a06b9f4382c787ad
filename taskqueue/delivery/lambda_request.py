"""An attempt as a signed Invoke call."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.lambda_function import OWN_HEADERS, LambdaFunction
from taskqueue.delivery.lambda_keys import Keys
from taskqueue.delivery.request import Request

# What a function is told in its context, for Lambda passes no headers on to it.
_TOLD = ("taskqueue-", "idempotency-key", "traceparent")
_AMAZONS = "x-amz-"  # all of these must be signed; the others need not be, and proxies may touch them


def invocation(request: Request, function: LambdaFunction, endpoint: LambdaEndpoint) -> Request:
    """``request`` as a call of Lambda's Invoke, not signed yet. Headers that Invoke has no use for are left out."""
    ours = [(name, value) for name, value in request.headers if _goes_along(name)]
    headers = [
        ("Content-Type", "application/json"),
        ("X-Amz-Invocation-Type", "Event" if function.event else "RequestResponse"),
        *ours,
    ]
    if not function.event:  # Lambda gives the context to functions that somebody waits for, and to no others
        headers.append(("X-Amz-Client-Context", client_context(request)))
    return replace(request, target=endpoint.target(function), method="POST", headers=tuple(headers))


def client_context(request: Request) -> str:
    """What the function finds as ``context.client_context.custom``: which task this is, and its idempotency key."""
    given = {name.lower(): (name, value) for name, value in reversed(request.headers)}  # so that the first wins
    told = dict(pair for lower, pair in reversed(given.items()) if lower.startswith(_TOLD))
    return base64.b64encode(json.dumps({"custom": told}, separators=(",", ":")).encode()).decode()


def signed(request: Request, keys: Keys, region: str) -> Request:
    """``request`` with Amazon's signature, version 4, over its place, its body and Amazon's own headers."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    unsigned = {name.lower(): (name, value) for name, value in reversed(request.headers)}
    covered = dict(pair for lower, pair in unsigned.items() if lower.startswith(_AMAZONS) or lower == "content-type")
    target = request.target
    url = f"{target.scheme}://{target.host_header}{target.path}"
    asked = AWSRequest(method=request.method, url=url, data=request.body or b"", headers=covered)
    SigV4Auth(keys, "lambda", region).add_auth(asked)
    return replace(request, headers=(*((name, str(value)) for name, value in asked.headers.items()), *request.headers))


def _goes_along(name: str) -> bool:
    lower = name.lower()
    return (
        lower in OWN_HEADERS or lower.startswith(("taskqueue-", "webhook-")) or lower in ("traceparent", "user-agent")
    )
