"""The OpenAPI 3.1 document, made from the operations and the models that serve them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from taskqueue import __version__
from taskqueue.web import problems
from taskqueue.web.fields import NAME, PYTHON_END, VISIBLE_ASCII
from taskqueue.web.operations import Answer, Operation
from taskqueue.web.problems import ProblemResource
from taskqueue.web.reading import Model

_REF = "#/components/schemas/{name}"
Json = dict[str, Any]
Schemas = dict[Any, Json]  # by the type they describe

_EVERY_ANSWER = {"X-Request-Id": "the request's own id if it sent a plain one, else a new one"}
_CHALLENGE = {"WWW-Authenticate": "how to bring an API key, or what is wrong with the one that came"}
_OF_PROBLEMS = {
    problems.UNAUTHENTICATED.status: _CHALLENGE,
    problems.NOT_ALLOWED.status: _CHALLENGE,
    problems.UNAVAILABLE.status: {"Retry-After": "seconds; repeat the request then, with the same idempotency key"},
}
_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer tq_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def openapi(operations: Iterable[Operation]) -> Json:
    """The document. Every body, parameter, status and example in it comes from ``operations``."""
    operations = tuple(operations)
    shapes = _shapes(operations)
    refs, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    schema_of = dict(zip(shapes, refs, strict=True))
    _speak_json_schema(components)
    _add_aliases(components)
    paths: Json = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "taskqueue", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _problem_responses(schema_of[ProblemResource]),
            "securitySchemes": _SCHEMES,
        },
    }


_THINGS: dict[str, tuple[str, Json]] = {
    "id": ("The id, which the service made", {"type": "string", "format": "uuid"}),
    "name": ("The name of the queue", {"type": "string", "pattern": f"{NAME}$"}),
    "key": ("The flow key, escaped as in any path", {"type": "string", "pattern": f"{VISIBLE_ASCII}$"}),
}
_ABOUT = (
    "A durable HTTP task queue. Times are RFC 3339 in UTC with milliseconds; spans are seconds, or durations such as"
    " `1m30s`. Errors are `application/problem+json`. Where the service asks for API keys, each operation says which"
    " scope the key must have; `admin` includes the others."
)


def _shapes(operations: Iterable[Operation]) -> list[Any]:
    found: dict[Any, None] = {ProblemResource: None}
    for operation in operations:
        for shape in (operation.body, operation.query, *(answer.body for answer in operation.answers.values())):
            if shape is not None:
                found[shape] = None
    return list(found)


def _speak_json_schema(schema: Any) -> None:
    """Say in JSON Schema's terms what msgspec and Python's patterns say in theirs."""
    if isinstance(schema, dict):
        if schema.get("format") == "duration":
            schema.update(type=["number", "string"], format="span")
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.removesuffix(PYTHON_END)
        for part in schema.values():
            _speak_json_schema(part)
    elif isinstance(schema, list):
        for part in schema:
            _speak_json_schema(part)


def _add_aliases(components: Json) -> None:
    """A field's other spelling, so that a reader of the document knows that it is accepted."""
    for shape in _models(Model):
        if not shape.ALIASES or shape.__name__ not in components:
            continue
        component = components[shape.__name__]
        properties = component["properties"]
        for other, ours in shape.ALIASES.items():
            properties[other] = {**properties[ours], "description": f"The same as `{ours}`; give one of them"}
            if ours in component.get("required", ()):
                component["required"].remove(ours)
                component.setdefault("anyOf", []).extend({"required": [name]} for name in (ours, other))


def _models(above: type[Model]) -> Iterator[type[Model]]:
    for model in above.__subclasses__():
        yield model
        yield from _models(model)


def _operation(operation: Operation, schema_of: Schemas, components: Json) -> Json:
    described: Json = {
        "operationId": _camel(operation.name),
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "security": [{scheme: [operation.scope.value]} for scheme in _SCHEMES] if operation.scope else [],
        "parameters": [*_path_parameters(operation), *_header_parameters(operation)],
        "responses": {str(status): _answer(answer, schema_of) for status, answer in operation.answers.items()},
    }
    described["parameters"] += _query_parameters(components[operation.query.__name__])
    if operation.body is not None:
        media: Json = {"schema": schema_of[operation.body]}
        if operation.example is not None:
            media["example"] = operation.example
        described["requestBody"] = {"required": operation.body_required, "content": {"application/json": media}}
    for kind in (*operation.problems, problems.BUG):
        described["responses"][str(kind.status)] = {"$ref": f"#/components/responses/{_response_name(kind.status)}"}
    return described


def _answer(answer: Answer, schema_of: Schemas) -> Json:
    described: Json = {"description": answer.description, "headers": _headers(_EVERY_ANSWER | dict(answer.headers))}
    if answer.body is not None:
        described["content"] = {"application/json": {"schema": schema_of[answer.body]}}
    return described


def _problem_responses(schema: Json) -> Json:
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, problems.ProblemKind)]
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        titles.setdefault(kind.status, []).append(kind.title)
    return {
        _response_name(status): {
            "description": ", or: ".join(found),
            "headers": _headers(_EVERY_ANSWER | _OF_PROBLEMS.get(status, {})),
            "content": {problems.MEDIA_TYPE: {"schema": schema}},
        }
        for status, found in titles.items()
    }


def _headers(descriptions: dict[str, str]) -> Json:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in descriptions.items()}


def _path_parameters(operation: Operation) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "description": _THINGS[name][0], "schema": _THINGS[name][1]}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _header_parameters(operation: Operation) -> list[Json]:
    return [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]


def _query_parameters(component: Json) -> list[Json]:
    return [
        {"name": name, "in": "query", "description": schema.get("description", ""), "schema": schema}
        for name, schema in component["properties"].items()
    ]


def _response_name(status: int) -> str:
    return f"Problem{status}"


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda letter: letter[1].upper(), name)
