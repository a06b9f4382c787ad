"""Plays that end with a whole answer: the status says it all."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from taskqueue.core.answer import class_of_status
from taskqueue.core.outcome import CLASSES
from taskqueue.faultlab.stage import Performance, Play, Stage
from taskqueue.faultlab.wire import BadRequest

# The usual status of each class; ?status= asks for another one of the same class.
_STATUS = {
    "success": 200,
    "redirect": 302,
    "bad_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "gone": 410,
    "too_large": 413,
    "request_timeout": 408,
    "conflict": 409,
    "too_early": 425,
    "throttled": 429,
    "aborted": 489,
    "server_error": 500,
    "bad_gateway": 502,
    "unavailable": 503,
    "gateway_timeout": 504,
}
_JSON = ("Content-Type", "application/json")


def answers() -> Iterator[tuple[str, Play]]:
    for name, status in _STATUS.items():
        yield name, Play(name, _about(name, status), _answer(name, status))
    for word in ("retry", "fail", "defer"):
        name = f"verdict_{word}"
        body = b'{"status": "%s"}' % word.encode()
        yield name, Play(name, f"answers 200 with {body.decode()}, for a verdict rule to read", _lie(body))


def _about(name: str, status: int) -> str:
    meaning = CLASSES[name].meaning
    if meaning[0].isdigit():  # it would only say the status again
        return f"answers {status} {HTTPStatus(status).phrase}"
    return f"answers {status}: {meaning}"


def by_status(status: int) -> Play:
    """The play that answers with ``status``, of whatever class."""
    if not 200 <= status <= 599:
        raise BadRequest("a status is a number from 200 to 599; /class/odd_status plays one beyond")
    name = class_of_status(status).name
    return Play(name, "", _answer(name, status))


def _answer(name: str, usual: int) -> Performance:
    async def perform(stage: Stage) -> None:
        status = stage.options.status or usual
        if class_of_status(status).name != name:
            raise BadRequest(f"status {status} is of class {class_of_status(status).name}, not {name}")
        # Nothing is there; whoever follows it finds out.
        more = [("Location", "/class/success")] if name == "redirect" else []
        await stage.answer(status, b'{"played": "%s"}' % name.encode(), [_JSON, *more])

    return perform


def _lie(body: bytes) -> Performance:
    async def perform(stage: Stage) -> None:
        await stage.answer(stage.options.status or 200, body, [_JSON])

    return perform
