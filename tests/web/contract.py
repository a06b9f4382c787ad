"""A client for tests that holds every answer against the OpenAPI document."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.datastructures import Headers

from taskqueue.web.app import OPERATIONS
from taskqueue.web.openapi import openapi

Json = dict[str, Any]
_UNDESCRIBED = {"content-length", "content-type", "cache-control", "allow"}


@dataclass(frozen=True)
class Answer:
    """One checked answer."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content, parse_int=lambda digits: int(digits) if len(digits) < 400 else float(digits))

    @property
    def faults(self) -> dict[str, str]:
        """What a problem document says is wrong, by pointer."""
        return {fault["pointer"]: fault["detail"] for fault in self.json.get("errors", [])}


class Document:
    """The served document, made strict: an answer may hold nothing that it does not describe."""

    def __init__(self) -> None:
        self.whole: Json = json.loads(json.dumps(openapi(OPERATIONS)))
        self._schemas = copy.deepcopy(self.whole["components"]["schemas"])
        for schema in self._schemas.values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        # The longest first: a flow key may hold slashes, and what follows it is none of it.
        self._paths = [
            (_pattern(path), self.whole["paths"][path]) for path in sorted(self.whole["paths"], key=len)[::-1]
        ]

    def check(self, method: str, path: str, answer: Answer) -> None:
        """Fail unless the document lists this status for this operation, with these headers and this body."""
        assert answer.headers["x-request-id"]
        operations = next((found for pattern, found in self._paths if pattern.fullmatch(path)), None)
        if method in ("HEAD", "OPTIONS"):
            return
        if operations is None or method.lower() not in operations:
            assert answer.status == (404 if operations is None else 405)
            self._check_body(answer, "application/problem+json", {"$ref": "#/components/schemas/ProblemResource"})
            return
        described = operations[method.lower()]["responses"]
        assert str(answer.status) in described, f"{method} {path} answered {answer.status}: {answer.content!r}"
        response = self._resolved(described[str(answer.status)])
        undescribed = answer.headers.keys() - {name.lower() for name in response["headers"]} - _UNDESCRIBED
        assert not undescribed, f"headers that the document does not name: {undescribed}"
        if "content" not in response:
            assert answer.content == b""
            return
        ((media_type, content),) = response["content"].items()
        self._check_body(answer, media_type, content["schema"])

    def valid(self, model: str, value: Any) -> bool:
        """Whether the document lets ``value`` be sent as the request model of this name."""
        schema = {"$ref": f"#/components/schemas/{model}"}
        return bool(self._validator(schema).is_valid(value))

    def _check_body(self, answer: Answer, media_type: str, schema: Json) -> None:
        assert answer.headers["content-type"] == media_type
        self._validator(schema).validate(answer.json)

    def _validator(self, schema: Json) -> Draft202012Validator:
        return Draft202012Validator(
            {**schema, "components": {"schemas": self._schemas}}, format_checker=FormatChecker()
        )

    def _resolved(self, response: Json) -> Json:
        name = response.get("$ref", "").rpartition("/")[2]
        found: Json = self.whole["components"]["responses"][name] if name else response
        return found


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(name|key)\\\}", ".+", re.escape(path).replace(r"\{id\}", "[0-9a-fA-F-]{36}")))


class Api:
    """Calls an application, and checks each answer."""

    def __init__(self, app: Flask, *, key: str | None = None) -> None:
        self._client, self.document = app.test_client(), Document()
        self._key = {"Authorization": f"Bearer {key}"} if key is not None else {}

    def call(self, method: str, path: str, **request: Any) -> Answer:
        """Send a request as the arguments of Werkzeug's test client describe it."""
        request["headers"] = Headers([*self._key.items(), *Headers(request.get("headers"))])
        response = self._client.open(path, method=method, **request)
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, headers, response.data)
        assert answer.status != 500, answer.content
        self.document.check(method, path.partition("?")[0], answer)
        return answer

    def get(self, path: str, **query: Any) -> Answer:
        return self.call("GET", path, query_string=query or None)

    def post(self, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
        """POST a value as JSON, bytes as they are, or nothing."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        media_type = "application/json" if content is not None else None
        return self.call("POST", path, data=content, content_type=media_type, headers=headers)

    def put(self, path: str, body: Any) -> Answer:
        """PUT a value as JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("PUT", path, data=content, content_type="application/json")

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)

    def submit(self, **fields: Any) -> Json:
        """The resource of a task that was accepted; ``fields`` over a sound one."""
        answer = self.post("/v1/tasks", {"targetUrl": "https://target.example/work", **fields})
        assert answer.status == 202, answer.content
        resource: Json = answer.json
        return resource
