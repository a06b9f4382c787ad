"""Follow-ups: what is submitted because a task ended, and what it is told."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from taskqueue.core.follow_up import MAX_WITH_EXCERPTS, content, follow_up
from taskqueue.core.lifecycle import cancel, expire
from taskqueue.core.memory import Asking, Memory
from taskqueue.core.policy import OnUnknown, Policy, Reconcile
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Attempt, FollowUp, Kind, NewTask, Progress, TaskId, TaskState
from taskqueue.core.webhook import settled
from tests.core.examples import NOW, TASK_ID, a_spec, an_attempt, answered, decided, queued, running

PARENT = TaskId(UUID(int=11))
ROOT = TaskId(UUID(int=1))


def then(**over: Any) -> FollowUp:
    return FollowUp(task=NewTask(spec=a_spec(target_url="https://undo.example/", **over), delay=timedelta(seconds=9)))


def followed(settlement: Settlement, *earlier: Attempt) -> NewTask:
    new = follow_up(settlement, earlier, now=NOW)
    assert new is not None
    return new


def told(settlement: Settlement, *earlier: Attempt) -> Any:
    return json.loads(followed(settlement, *earlier).spec.body or b"")


def test_an_ending_that_asks_for_nothing_is_followed_by_nothing() -> None:
    assert follow_up(decided(running(), answered(200)), [], now=NOW) is None
    assert follow_up(decided(running(on_failure=then()), answered(200)), [], now=NOW) is None
    assert follow_up(decided(running(on_success=then()), answered(400)), [], now=NOW) is None
    assert follow_up(cancel(queued(on_success=then(), on_failure=then()), now=NOW), [], now=NOW) is None


def test_a_follow_up_is_what_was_asked_for_in_the_project_of_its_parent() -> None:
    asked = then(queue="undo", retries=7, headers=(("X-Plain", "1"),), on_failure=then(), project="another")
    parent = running(project="acme", queue="work", traceparent="00-aa-bb-01", on_failure=asked, labels=("a",))
    new = followed(decided(parent, answered(400)))
    spec = new.spec
    assert (spec.kind, spec.project, spec.queue, spec.retries) == (Kind.TASK, "acme", "undo", 7)
    assert (spec.target_url, spec.headers, spec.labels) == ("https://undo.example/", (("X-Plain", "1"),), ())
    assert (spec.content_type, spec.traceparent) == ("application/json", "00-aa-bb-01")
    assert spec.on_failure == asked.task.spec.on_failure
    assert new.delay == timedelta(seconds=9)


def test_a_chain_goes_on_from_its_root() -> None:
    first = followed(decided(running(on_success=then()), answered(200))).spec
    assert (first.parent_id, first.root_id) == (TASK_ID, TASK_ID)
    second = followed(decided(running(on_success=then(), parent_id=PARENT, root_id=ROOT), answered(200))).spec
    assert (second.parent_id, second.root_id) == (TASK_ID, ROOT)


def test_a_compensation_is_told_of_the_dead_task_and_of_all_its_attempts() -> None:
    parent = running(
        on_failure=then(),
        body=b'{"n": 1.10}',
        content_type="application/json",
        headers=(("Authorization", "s3cret"),),
        progress=Progress(generation=2, seq=9, number=2, charged=1),
        retries=1,
    )
    earlier = an_attempt(answered(503, body=b"busy"))
    body = told(decided(parent, answered(500, body=b"broken")), earlier)
    assert list(body) == ["task", "attempts", "payload"]
    assert (body["task"]["id"], body["task"]["status"], body["task"]["generation"]) == (str(TASK_ID), "dead", 2)
    assert (body["task"]["deadReason"], body["task"]["error"]["class"]) == ("exhausted", "server_error")
    assert body["task"]["headers"] == {"Authorization": "***"}
    assert [attempt["response"]["body"] for attempt in body["attempts"]] == ["busy", "broken"]
    assert [attempt["number"] for attempt in body["attempts"]] == [1, 2]


def test_a_task_that_died_waiting_tells_of_what_it_tried() -> None:
    body = told(expire(queued(on_failure=then()), now=NOW), an_attempt())
    assert (body["task"]["deadReason"], len(body["attempts"])) == ("expired", 1)
    assert told(expire(queued(on_failure=then()), now=NOW))["attempts"] == []


def test_what_follows_a_success_is_told_the_result() -> None:
    body = told(decided(running(on_success=then(), metadata=b'{"n": 1.10}'), answered(200, body=b"done")), an_attempt())
    assert list(body) == ["task", "result", "payload"]
    assert (body["task"]["status"], body["task"]["metadata"]) == ("succeeded", {"n": 1.1})
    assert (body["result"]["statusCode"], body["result"]["body"]) == (200, "done")


def test_what_somebody_else_knew_is_the_result() -> None:
    policy = Policy(reconcile=Reconcile(url="https://x.example/", timeout=timedelta(1), on_unknown=OnUnknown.HOLD))
    progress = Progress(seq=4, number=2, charged=1, memory=Memory(previous="timeout", asking=Asking()))
    asking = running(policy=policy, on_success=then(), on_failure=then(), progress=progress)
    done = decided(asking, answered(200, body=b'{"state": "done", "result": [1]}'))
    assert told(done)["result"]["body"] == "[1]"
    last = an_attempt(answered(504))
    unknown = decided(replace(asking, last_attempt=last), answered(200, body=b'{"state": "unknown"}'))
    assert unknown.state is TaskState.DEAD
    assert told(unknown, last)["task"]["error"]["class"] == "gateway_timeout"
    assert settled(unknown, now=NOW).last_attempt == last


PAYLOAD = b' {"n": 1.10, "big": 123456789012345678901234567890, "e": 1E400, "s": "\\ud800"} '
NOT_JSON = ("application/json", "text/plain", None)


def test_the_payload_goes_on_byte_for_byte() -> None:
    parent = running(on_failure=then(), body=PAYLOAD, content_type="application/json; charset=utf-8")
    assert (followed(decided(parent, answered(400))).spec.body or b"").endswith(b',"payload":' + PAYLOAD + b"}")


def test_a_payload_of_its_own_comes_before_that_of_the_parent() -> None:
    own = then(body=b'{"own": true}', content_type="application/json")
    parent = running(on_failure=own, body=b'{"own": false}', content_type="application/json")
    assert told(decided(parent, answered(400)))["payload"] == {"own": True}
    assert told(decided(running(on_failure=then()), answered(400)))["payload"] is None


@pytest.mark.parametrize("content_type", ["application/json", "Application/Vnd.Api+JSON", " application/json ; a=b"])
def test_what_says_that_it_is_json_and_is_goes_as_payload(content_type: str) -> None:
    assert content(a_spec(body=b"1" * 5000, content_type=content_type)) == b'"payload":' + b"1" * 5000


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": 1}', "text/plain"),
        (b'{"a": 1}', None),
        (b'{"a": 1', "application/json"),
        (b"NaN", "application/json"),
        (b'1, "task": 2', "application/json"),
        (b"[" * 100_000, "application/json"),
        ("\ufeff1".encode(), "application/json"),
        (b"", "application/json"),
    ],
)
def test_text_that_is_no_json_goes_as_body(body: bytes, content_type: str | None) -> None:
    found = json.loads(b"{" + content(a_spec(body=body, content_type=content_type)) + b"}")
    assert found == {"body": body.decode()}


@pytest.mark.parametrize("body", [b"\xff\x00", '{"a": 1}'.encode("utf-16")])
def test_bytes_that_are_no_text_go_in_base64(body: bytes) -> None:
    found = json.loads(b"{" + content(a_spec(body=body, content_type="application/json")) + b"}")
    assert found == {"bodyBase64": base64.b64encode(body).decode()}


def test_a_long_story_does_without_what_was_answered() -> None:
    parent = running(on_failure=then(), body=b'"mine"', content_type="application/json")
    many = [an_attempt(answered(500, body=b"x" * 16384), number=number) for number in range(1, 20)]
    cut = replace(many[0], outcome=replace(many[0].outcome, response=None))
    body = told(decided(parent, answered(400, body=b"x" * 16384)), cut, *many)
    assert len(body["attempts"]) == 21
    assert body["attempts"][0]["response"] is None
    for attempt in body["attempts"][1:]:
        assert (attempt["response"]["body"], attempt["response"]["truncated"]) == ("", True)
        assert attempt["statusCode"] == attempt["response"]["statusCode"]
    assert body["task"]["result"]["body"] == ""
    assert body["payload"] == "mine"


def test_a_result_stays_however_long_the_payload_is() -> None:
    payload = json.dumps("x" * MAX_WITH_EXCERPTS).encode()
    parent = running(on_success=then(), body=payload, content_type="application/json")
    body = told(decided(parent, answered(200, body=b"done")))
    assert (body["result"]["body"], body["task"]["result"]["body"]) == ("done", "")


def test_a_long_death_without_an_attempt_tells_what_it_can() -> None:
    payload = json.dumps("x" * MAX_WITH_EXCERPTS).encode()
    body = told(expire(queued(on_failure=then(), body=payload, content_type="application/json"), now=NOW))
    assert (body["task"]["result"], len(body["payload"])) == (None, MAX_WITH_EXCERPTS)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_follow_up_that_cannot_carry_a_body_carries_none(method: str) -> None:
    spec = followed(decided(running(on_failure=then(method=method)), answered(400))).spec
    assert (spec.method, spec.body, spec.content_type) == (method, None, None)
