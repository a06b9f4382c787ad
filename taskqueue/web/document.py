"""The API's own description, over HTTP."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from taskqueue.web.calls import Call, Reply
from taskqueue.web.openapi import openapi
from taskqueue.web.operations import Answer, Operation, operation
from taskqueue.web.service import Service


def with_document(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """``operations``, and one more that describes them all and itself."""

    @operation(
        "GET",
        "/openapi.json",
        summary="This document",
        tag="document",
        scope=None,
        answers={200: Answer("The OpenAPI 3.1 document", dict[str, Any])},
    )
    def get_openapi(_service: Service, _call: Call) -> Reply:
        """What the API takes and answers, made from the code that does so."""
        return Reply(200, msgspec.Raw(text()))

    described = (*operations, get_openapi)

    @cache
    def text() -> bytes:
        return msgspec.json.encode(openapi(described))

    return described
