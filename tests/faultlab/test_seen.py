"""What the lab remembers of what it saw: as a target, a webhook receiver, and somebody to ask."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from taskqueue.core.webhook import sign
from taskqueue.faultlab.seen import BODY_BYTES, MOST, Seen
from taskqueue.faultlab.wire import Request
from tests.e2e.service import SECRET
from tests.faultlab.running import RunningLab, running_lab
from tests.faultlab.wire import ask


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    now = int(time.time())
    signature = sign([secret], message_id="m", timestamp=now, body=body)
    return {"webhook_id": "m", "webhook_timestamp": str(now), "webhook_signature": signature}


def test_every_request_is_remembered_in_order(lab: RunningLab) -> None:
    lab.call("POST", "/class/gone?after=0", b'{"n": 1}', Taskqueue_Task_Id="t", Taskqueue_Attempt="2")
    ask(f"{lab.url}/class/no_response", b"\xff")
    first, second = lab.seen()
    assert (first["method"], first["path"], first["body"]) == ("POST", "/class/gone?after=0", '{"n": 1}')
    assert (first["taskId"], first["attempt"], first["signature"]) == ("t", 2, "missing")
    assert second["bodyBase64"] == "/w=="


def test_one_task_or_one_path_can_be_looked_for(lab: RunningLab) -> None:
    for task, path in (("a", "/class/gone"), ("b", "/webhook"), ("a", "/webhook")):
        lab.call("POST", path, b"{}", Taskqueue_Task_Id=task)
    assert [each["path"] for each in lab.seen("?task=a")] == ["/class/gone", "/webhook"]
    assert [each["taskId"] for each in lab.seen("?path=/webhook")] == ["b", "a"]


# Made when the test runs: a signature is good for five minutes.
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: signed(b'{"x":1}'), "valid"),
        (lambda: signed(b"other"), "invalid"),
        (lambda: signed(b'{"x":1}', "whsec_" + "A" * 32), "invalid"),
        (lambda: {"webhook_signature": "v1,x"}, "invalid"),
        (dict, "missing"),
    ],
)
def test_a_webhook_receiver_checks_signatures(lab: RunningLab, made: Callable[[], dict[str, str]], said: str) -> None:
    headers = made()
    status, _, body = lab.call("POST", "/webhook", b'{"x":1}', **headers)
    assert (status, body) == (204, b"")
    assert [each["signature"] for each in lab.seen()] == [said]


def test_without_a_secret_signatures_are_not_checked() -> None:
    with running_lab(secret=None) as lab:
        lab.call("POST", "/webhook", b"{}", **signed(b"other"))
        assert [each["signature"] for each in lab.seen()] == ["unchecked"]


def test_a_webhook_can_be_refused(lab: RunningLab) -> None:
    assert [lab.call("POST", "/webhook?status=200&times=1")[0] for _ in range(2)] == [200, 200]
    assert lab.call("POST", "/class/unavailable?times=1", b"{}", webhook_id="m")[0] == 503


@pytest.mark.parametrize("state", ["done", "not-done", "unknown"])
def test_who_is_asked_whether_the_work_was_done_answers(lab: RunningLab, state: str) -> None:
    status, _, body = lab.call("POST", f"/reconcile?state={state}", b'{"task": {}}')
    assert status == 200
    assert json.loads(body)["state"] == state
    assert ("result" in json.loads(body)) == (state == "done")


def test_who_is_asked_may_be_down(lab: RunningLab) -> None:
    assert ask(f"{lab.url}/reconcile?state=down").end == "closed"


def test_the_key_that_makes_repeats_safe_is_shown_for_attempts_to_be_compared(lab: RunningLab) -> None:
    lab.call("POST", "/work", b"{}", Idempotency_Key="order-7")
    (seen,) = lab.seen()
    assert seen["headers"]["idempotency-key"] == "order-7"
    assert datetime.fromisoformat(seen["at"]).tzinfo is not None


def test_credentials_are_not_shown(lab: RunningLab) -> None:
    lab.call("POST", "/webhook", b"{}", Authorization="Bearer hunter2", X_Api_Key="hunter2")
    assert "hunter2" not in json.dumps(lab.seen())


def test_the_memory_is_bounded() -> None:
    seen = Seen(None)
    for number in range(MOST + 5):
        seen.remember(Request("POST", f"/{number}", (("x", "y" * 9000),), b"x" * (BODY_BYTES + 1)))
    kept = seen.list({})
    assert (len(kept["items"]), kept["forgotten"]) == (MOST, 5)
    assert kept["items"][0]["path"] == "/5"
    assert (len(kept["items"][0]["body"]), kept["items"][0]["truncated"]) == (BODY_BYTES, True)
    assert len(kept["items"][0]["headers"]["x"]) < 1000
