"""API keys over HTTP: made and shown once, listed, revoked, rotated."""

from __future__ import annotations

from taskqueue.core.api_key import ApiKeyId
from taskqueue.store import api_keys
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.key_models import DEFAULT_OVERLAP, CreateApiKey, RotateApiKey
from taskqueue.web.key_resources import ApiKeyAnswer, ApiKeys, NewApiKeyAnswer, api_key_answer, new_api_key_answer
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import CONFLICT, NOT_FOUND, Problem
from taskqueue.web.queue_models import Paging
from taskqueue.web.reading import either
from taskqueue.web.service import Service

_TAG = "api-keys"
_PLACE = {"Location": "where what is known of it can be seen"}


@operation(
    "GET",
    "/v1/api-keys",
    summary="List the API keys",
    tag=_TAG,
    scope=Scope.ADMIN,
    query=Paging,
    answers={200: Answer("One page of the project's keys, newest first", ApiKeys)},
)
def list_api_keys(service: Service, call: Call) -> Reply:
    """Those that are revoked or expired too. Of each there is how it begins, and nothing else of the key itself."""
    asked = call.query(Paging)
    with service.database.read() as conn:
        page = api_keys.search(conn, call.caller.project, cursor=either(asked.cursor, None), limit=asked.limit)
        now = service.database.now(conn)
    items = [api_key_answer(key, now=now) for key in page.items]
    return Reply(200, {"items": items, "nextCursor": page.next_cursor})


@operation(
    "POST",
    "/v1/api-keys",
    summary="Make an API key",
    tag=_TAG,
    scope=Scope.ADMIN,
    body=CreateApiKey,
    body_required=True,
    answers={201: Answer("The key, shown this once", NewApiKeyAnswer, _PLACE)},
    example={"name": "orders-lambda", "scopes": ["submit", "read"], "expiresIn": "90d"},
)
def create_api_key(service: Service, call: Call) -> Reply:
    """For the project of the key that asks. Only a hash is kept: a key that was not written down is lost."""
    asked = call.body(CreateApiKey)
    with service.database.begin() as conn:
        made = api_keys.create(
            conn,
            service.database,
            call.caller.project,
            name=asked.name,
            scopes=frozenset(asked.scopes),
            lifetime=either(asked.expires_in, None),
        )
    return Reply(201, new_api_key_answer(made), {"Location": f"/v1/api-keys/{made.key.id}"})


@operation(
    "GET",
    "/v1/api-keys/{id}",
    summary="Look at an API key",
    tag=_TAG,
    scope=Scope.ADMIN,
    answers={200: Answer("What is known of it", ApiKeyAnswer)},
)
def get_api_key(service: Service, call: Call) -> Reply:
    """When it was used last is written down once a minute at most."""
    with service.database.read() as conn:
        key = api_keys.get(conn, call.caller.project, ApiKeyId(call.thing()))
        now = service.database.now(conn)
    if key is None:
        raise _unknown()
    return Reply(200, api_key_answer(key, now=now))


@operation(
    "DELETE",
    "/v1/api-keys/{id}",
    summary="Revoke an API key",
    tag=_TAG,
    scope=Scope.ADMIN,
    answers={204: Answer("It opens nothing any more")},
)
def revoke_api_key(service: Service, call: Call) -> Reply:
    """Every process refuses it within 5 seconds. It stays in the list, and to revoke it again changes nothing."""
    id_ = ApiKeyId(call.thing())
    with service.database.begin() as conn:
        key = api_keys.revoke(conn, service.database, call.caller.project, id_)
    if key is None:
        raise _unknown()
    service.callers.known.forget(id_)
    return Reply(204)


@operation(
    "POST",
    "/v1/api-keys/{id}/rotate",
    summary="Replace an API key",
    tag=_TAG,
    scope=Scope.ADMIN,
    body=RotateApiKey,
    answers={201: Answer("The new key, shown this once", NewApiKeyAnswer, _PLACE)},
    problems=(CONFLICT,),
    example={"overlap": "2h"},
)
def rotate_api_key(service: Service, call: Call) -> Reply:
    """The new key has the same name and scopes, and as long a life as the old one was given. The old one goes on for
    the `overlap`, so that callers can change over one by one."""
    asked, id_ = call.body(RotateApiKey), ApiKeyId(call.thing())
    with service.database.begin() as conn:
        overlap = either(asked.overlap, DEFAULT_OVERLAP)
        made = api_keys.rotate(conn, service.database, call.caller.project, id_, overlap=overlap)
    if made is None:
        raise _unknown()
    service.callers.known.forget(id_)
    return Reply(201, new_api_key_answer(made), {"Location": f"/v1/api-keys/{made.key.id}"})


OPERATIONS = (list_api_keys, create_api_key, get_api_key, revoke_api_key, rotate_api_key)


def _unknown() -> Problem:
    return Problem(NOT_FOUND, "there is no API key with this id")
