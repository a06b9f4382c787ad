"""Functions as targets: accepted where they can be invoked, and refused with what an operator or a caller can do."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import msgspec
import pytest

from taskqueue.config import Settings
from taskqueue.core.task import TaskId
from taskqueue.store.database import Database
from taskqueue.web.app import create_app
from taskqueue.web.service import Service
from tests.support.builders import answer as answered
from tests.support.builders import claim_one, look_up, settle_one
from tests.web.contract import Api, Json

FUNCTION = "lambda://process:live"


@pytest.fixture
def invoking(settings: Settings, database: Database) -> Iterator[Api]:
    """The API of a service that knows where functions are."""
    service = Service(msgspec.structs.replace(settings, lambda_region="eu-west-1"), database)
    yield Api(create_app(service))
    service.close()


def faults(api: Api, **fields: object) -> dict[str, str]:
    answer = api.post("/v1/tasks", {"targetUrl": FUNCTION, **fields})
    assert answer.status == 422, answer.content
    return answer.faults


def test_a_function_is_a_target_like_another(invoking: Api, database: Database) -> None:
    task = invoking.submit(targetUrl="LAMBDA://process:live", payload={"n": 1.0}, headers={"Idempotency-Key": "k"})
    spec = look_up(database, TaskId(UUID(task["id"]))).spec
    assert (spec.target_url, spec.target_host, spec.origin) == (FUNCTION, "process", "lambda://process")
    assert task["targetUrl"] == FUNCTION


def test_a_function_can_follow_whatever_its_template_carries(invoking: Api) -> None:
    task = invoking.submit(onFailure={"task": {"targetUrl": FUNCTION, "body": "no JSON"}})
    assert task["onFailure"]["task"]["targetUrl"] == FUNCTION


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"targetUrl": "lambda://process/path"}, "/targetUrl"),
        ({"method": "GET"}, "/method"),
        ({"headers": {"X-Tenant": "7"}}, "/headers/X-Tenant"),
        ({"body": "no JSON"}, "/body"),
        ({"bodyBase64": "eA=="}, "/bodyBase64"),
        ({"webhookUrl": FUNCTION}, "/webhookUrl"),
        ({"reconcile": {"url": FUNCTION}}, "/reconcile/url"),
        ({"onSuccess": {"task": {"targetUrl": FUNCTION, "method": "PUT"}}}, "/onSuccess/task/method"),
    ],
)
def test_what_no_function_can_be_given_is_refused(invoking: Api, fields: Json, pointer: str) -> None:
    assert pointer in faults(invoking, **fields)


def test_without_a_region_the_operator_is_told_what_to_set(front: Api) -> None:
    assert "TASKQUEUE_LAMBDA_REGION" in faults(front)["/targetUrl"]


def test_a_redrive_may_lead_to_a_function(invoking: Api, database: Database) -> None:
    task = invoking.submit(payload=1, headers={"X-Tenant": "7"})
    settle_one(database, claim_one(database), answered(400))
    path = f"/v1/dead-letters/{invoking.get('/v1/tasks/' + task['id']).json['deadLetterId']}/redrive"
    refused = invoking.post(path, {"targetUrl": FUNCTION})
    assert refused.faults.keys() == {"/headers/X-Tenant"}
    assert invoking.post(path, {"targetUrl": FUNCTION, "headers": {}}).json["targetUrl"] == FUNCTION


def test_an_edit_of_a_dead_function_call_must_suit_the_function(invoking: Api, database: Database) -> None:
    task = invoking.submit(targetUrl=FUNCTION, payload=1)
    settle_one(database, claim_one(database), answered(400))
    path = f"/v1/dead-letters/{invoking.get('/v1/tasks/' + task['id']).json['deadLetterId']}/redrive"
    assert invoking.post(path, {"body": "no JSON"}).faults.keys() == {"/body"}
    assert invoking.post(path, {"payload": 2}).status == 200
