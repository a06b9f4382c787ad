"""The Flask application: every operation behind its route, and every error as a problem document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import PathConverter

from taskqueue import telemetry
from taskqueue.core.errors import TaskQueueError
from taskqueue.telemetry import Event
from taskqueue.web import (
    api_keys,
    breakers,
    dead_letters,
    explain,
    flow_keys,
    health,
    order_blocks,
    problems,
    progress,
    projects,
    queues,
    simulate,
    tasks,
)
from taskqueue.web.auth import NOBODY
from taskqueue.web.calls import Call, Reply, read_body, request_id
from taskqueue.web.document import with_document
from taskqueue.web.models import Nothing
from taskqueue.web.operations import Operation
from taskqueue.web.origin import check_origin
from taskqueue.web.paths import nothing_at
from taskqueue.web.problems import Problem, problem_of
from taskqueue.web.scan import UnreadableJson
from taskqueue.web.service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

OPERATIONS = with_document(
    (
        *(*tasks.OPERATIONS, *explain.OPERATIONS, *simulate.OPERATIONS),
        *(*dead_letters.OPERATIONS, *queues.OPERATIONS, *flow_keys.OPERATIONS, *breakers.OPERATIONS),
        *(*order_blocks.OPERATIONS, *api_keys.OPERATIONS, *projects.OPERATIONS),
        *(*progress.OPERATIONS, *health.OPERATIONS),
    )
)
Environ = Mapping[str, Any]
_encode = msgspec.json.Encoder().encode


class _Rest(PathConverter):
    """A name that may hold any character: a server hands on ``%2F`` as a slash, so that both spellings are one."""

    part_isolating = False
    regex = ".+?"


class _Bytes(Response):
    """An answer that goes out as it was made: its bytes and its headers."""

    default_mimetype = None

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:  # noqa: ARG002 - Werkzeug's name
        return self.headers


def create_app(service: Service) -> Flask:
    """The API over ``service``, which stays the caller's to close."""
    app = Flask("taskqueue", static_folder=None)
    app.url_map.merge_slashes = False  # a path that is not ours is a 404, never a redirect
    app.url_map.converters["rest"] = _Rest
    for operation in OPERATIONS:
        app.add_url_rule(
            _rule(operation.path),
            endpoint=operation.name,
            view_func=_view(service, operation),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    return app


def _rule(path: str) -> str:
    return path.replace("{id}", "<uuid:id>").replace("{name}", "<rest:name>").replace("{key}", "<rest:name>")


def _view(service: Service, operation: Operation) -> Callable[..., Response]:
    settings = service.settings
    limit = settings.max_batch_bytes if operation.batch else settings.max_body_bytes
    # Probes of health and the like may carry whatever their senders add, and call us by any name.
    scope = operation.scope
    refuses_parameters = scope is not None and operation.query is Nothing

    def view(id: UUID | None = None, name: str | None = None) -> Response:
        environ = request.environ
        try:
            caller = NOBODY
            if scope is not None:
                check_origin(environ, settings)
                caller = service.callers.authenticate(environ, scope)  # before anything of the body is read
            text = b""
            if operation.body is not None:
                text = read_body(environ, limit, service.intake, required=operation.body_required)
            call = Call(environ, caller, id, name, text)
            if refuses_parameters and environ.get("QUERY_STRING"):
                call.query(Nothing)
            reply = operation.view(service, call)
        except Problem as problem:
            return _problem(problem, environ)
        except (TaskQueueError, UnreadableJson) as error:
            problem_or_bug = problem_of(error)
            if problem_or_bug is None:
                raise
            return _problem(problem_or_bug, environ)
        return _answer(reply, environ)

    return view


def _answer(reply: Reply, environ: Environ) -> Response:
    content = b"" if reply.body is None else _encode(reply.body)
    return _response(reply.status, content, "application/json", reply.headers, request_id(environ))


def _problem(problem: Problem, environ: Environ) -> Response:
    id_ = request_id(environ)
    status = problem.kind.status
    if problem.kind is problems.UNAVAILABLE:
        telemetry.warning(Event.STORE_UNAVAILABLE, route=_route(), request_id=id_)
    return _response(status, _encode(problem.resource(id_)), problems.MEDIA_TYPE, problem.headers, id_)


def _response(status: int, content: bytes, media_type: str, headers: Mapping[str, str], id_: str) -> Response:
    ours = [("X-Request-Id", id_), ("Cache-Control", "no-store"), *headers.items()]
    if content:
        ours += [("Content-Type", media_type), ("Content-Length", str(len(content)))]
    # Passed through, the server gets the bytes themselves and no iterator over them.
    return _Bytes([content], status, Headers(ours), direct_passthrough=True)


def _http_error(error: HTTPException) -> Response:
    """What Flask refuses before a view runs, as a problem like any other."""
    environ = request.environ
    if isinstance(error, MethodNotAllowed):
        allow = {"Allow": ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))}
        if request.method == "OPTIONS":
            return _response(204, b"", "", allow, request_id(environ))
        return _problem(
            Problem(problems.METHOD_NOT_ALLOWED, f"this path takes only {allow['Allow']}", headers=allow), environ
        )
    if error.code == problems.NOT_FOUND.status:
        return _problem(Problem(problems.NOT_FOUND, nothing_at(request.path, OPERATIONS)), environ)
    return _problem(Problem(problems.UNREADABLE, "the request cannot be understood as HTTP"), environ)


def _fault(error: Exception) -> Response:
    """A fault of ours: told in full to the log, and to the caller only that it happened."""
    id_ = request_id(request.environ)
    telemetry.exception(Event.REQUEST_FAULT, error, method=request.method, route=_route(), request_id=id_)
    body = Problem(problems.BUG, "this is a bug; its trace is in the log under this requestId").resource(id_)
    return _response(500, _encode(body), problems.MEDIA_TYPE, {}, id_)


def _route() -> str:
    return request.url_rule.rule if request.url_rule else ""
