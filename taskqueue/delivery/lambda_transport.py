"""Attempts on functions: signed, and sent to the endpoint that the operator trusts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.outcome import Outcome, failed
from taskqueue.delivery.http import Transport
from taskqueue.delivery.lambda_keys import NO_REGION, KeyRing, NotConfigured
from taskqueue.delivery.lambda_request import invocation, signed
from taskqueue.delivery.request import Request
from taskqueue.delivery.trace import Trace


class LambdaTransport:
    """Invokes functions, each attempt once. Belongs to one event loop. Without an endpoint it refuses them."""

    def __init__(self, endpoint: LambdaEndpoint | None, ring: KeyRing, transport: Transport) -> None:
        """``transport`` must allow the endpoint, and should allow nothing else."""
        self._endpoint, self._ring, self._transport = endpoint, ring, transport

    async def deliver(self, request: Request, trace: Trace) -> Outcome:
        """How the attempt ended, within the request's timeout; ``request.target`` names the function."""
        function, endpoint = request.target.lambda_function, self._endpoint
        assert function is not None, "an http target needs no signature"
        if endpoint is None:
            return _not_configured(NO_REGION)
        if (elsewhere := endpoint.elsewhere(function)) is not None:
            return failed("function_config", "WrongRegion", elsewhere)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout.total_seconds()
        try:
            async with asyncio.timeout_at(deadline):
                keys = await self._ring.keys()
        except NotConfigured as error:
            if isinstance(error.__cause__, Exception):
                trace.surprise = error.__cause__
            return _not_configured(str(error))
        except TimeoutError:
            return failed("local_resource", "DeadlinePassed", "the AWS credentials could not be looked up in time")
        call = signed(invocation(request, function, endpoint), keys, endpoint.region)
        left = timedelta(seconds=max(deadline - loop.time(), 0))
        return _without(keys.token, await self._transport.deliver(replace(call, timeout=left), trace))

    async def close(self) -> None:
        """Close every connection and wait until they are gone."""
        await self._transport.close()


def _not_configured(message: str) -> Outcome:
    return failed("local_resource", "NotConfigured", message)


def _without(token: str | None, outcome: Outcome) -> Outcome:
    """Amazon repeats the whole request, token included, when it refuses a signature; answers are shown to callers."""
    response = outcome.response
    if not token or response is None or token.encode() not in response.body:
        return outcome
    return replace(outcome, response=replace(response, body=response.body.replace(token.encode(), b"***")))
