"""The completion event as a task, and a signature that any Standard Webhooks library verifies."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from taskqueue.core.lifecycle import cancel, expire
from taskqueue.core.settlement import Settlement
from taskqueue.core.task import Cause, Kind, NewTask, Progress
from taskqueue.core.webhook import notices, secret_key, settled, sign
from tests.core.examples import HOOKED, NOW, TASK_ID, answered, cut, decided, queued, running

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(32, 56))).decode()
MESSAGE = "018f0000-0000-7000-8000-0000000000ff"


def told(settlement: Settlement) -> list[NewTask]:
    return notices(settlement, now=NOW)


def event_of(notice: NewTask) -> dict[str, Any]:
    assert notice.spec.body is not None
    event: dict[str, Any] = json.loads(notice.spec.body)
    return event


def test_a_webhook_is_a_task_of_its_own() -> None:
    (notice,) = told(decided(running(**HOOKED, project="acme", traceparent="00-aa-bb-01"), answered(200)))
    spec = notice.spec
    assert (spec.kind, spec.queue, spec.project, spec.method) == (Kind.WEBHOOK, "$webhooks", "acme", "POST")
    assert (spec.target_url, spec.target_host) == ("https://caller.example/hook", "caller.example")
    assert spec.origin == "https://caller.example:443"
    assert (spec.retries, spec.timeout) == (10, timedelta(seconds=15))
    assert (spec.content_type, spec.headers, spec.webhook_url) == ("application/json", (), None)
    assert spec.traceparent == "00-aa-bb-01"
    assert (notice.run_at, notice.delay) == (None, timedelta(0))


def test_a_task_that_asks_for_nothing_is_told_nothing() -> None:
    assert told(decided(running(), answered(200))) == []


@pytest.mark.parametrize(
    ("settlement", "kind", "status"),
    [
        (decided(running(**HOOKED), answered(200)), "task.succeeded", "succeeded"),
        (expire(queued(**HOOKED), now=NOW), "task.dead", "dead"),
        (cancel(queued(**HOOKED), now=NOW), "task.cancelled", "cancelled"),
        (decided(running(**HOOKED), answered(500)), "task.attemptFailed", "retrying"),
    ],
)
def test_the_body_names_the_change_and_shows_the_task_after_it(settlement: Settlement, kind: str, status: str) -> None:
    (notice,) = told(settlement)
    event = event_of(notice)
    assert list(event) == ["type", "timestamp", "data"]
    assert (event["type"], event["timestamp"]) == (kind, "2026-03-01T12:00:00.000Z")
    assert event["data"]["id"] == str(TASK_ID)
    assert (event["data"]["status"], event["data"]["seq"]) == (status, settlement.progress.seq)


def test_the_body_carries_result_error_and_count_but_no_headers_nor_payload() -> None:
    task = running(**HOOKED, body=b'"the payload"', headers=(("X-Plain", "header-value"),))
    dead = told(decided(task, answered(400, body=b"no such account", headers=(("set-cookie", "s3cret"),))))[-1]
    data = event_of(dead)["data"]
    assert "headers" not in data
    assert data["attempt"] == 1
    assert data["result"]["body"] == "no such account"
    assert data["result"]["headers"] == {"set-cookie": "***"}
    assert (data["error"]["class"], data["deadReason"]) == ("bad_request", "rejected")
    assert dead.spec.body is not None
    for hidden in (b"the payload", b"header-value", b"s3cret"):
        assert hidden not in dead.spec.body


def test_a_retrying_task_tells_when_it_goes_on() -> None:
    (notice,) = told(decided(running(**HOOKED), answered(500), jitter=1.0))
    assert event_of(notice)["data"]["nextAttemptAt"] == "2026-03-01T12:00:02.000Z"


def test_metadata_comes_back_byte_for_byte() -> None:
    metadata = b'{"n": 1.10, "big": 123456789012345678901234567890, "e": 1E400, "s": "\\ud800"}'
    (notice,) = told(decided(running(**HOOKED, metadata=metadata), answered(200)))
    assert notice.spec.body is not None
    assert notice.spec.body.endswith(b',"metadata":' + metadata + b"}}")
    (plain,) = told(decided(running(**HOOKED), answered(200)))
    assert event_of(plain)["data"]["metadata"] is None


def test_a_body_that_is_no_text_does_not_break_the_event() -> None:
    (notice,) = told(decided(running(**HOOKED), answered(200, body=b"\xff\x00\xed\xa0\x80")))
    assert event_of(notice)["data"]["result"]["bodyBase64"] == base64.b64encode(b"\xff\x00\xed\xa0\x80").decode()


def test_each_change_of_a_task_has_a_cause_of_its_own() -> None:
    failed_and_dead = told(decided(running(**HOOKED, progress=Progress(generation=2, seq=6)), answered(400)))
    causes = [notice.spec.cause for notice in failed_and_dead]
    assert causes == [Cause(TASK_ID, 2, 6), Cause(TASK_ID, 2, 7)]
    assert [event_of(notice)["type"] for notice in failed_and_dead] == ["task.attemptFailed", "task.dead"]


def test_no_two_changes_in_a_life_share_a_cause() -> None:
    causes, task = [], running(**HOOKED, retries=3)
    for _ in range(4):
        settlement = decided(task, answered(500))
        causes += [notice.spec.cause for notice in told(settlement)]
        # As the claim counts: seq and number go on by one.
        after = settlement.progress
        progress = Progress(seq=after.seq + 1, number=after.number + 1, charged=after.charged, memory=after.memory)
        task = running(**HOOKED, retries=3, progress=progress)
    assert len(causes) == len(set(causes)) == 5


def test_a_settlement_shows_the_task_as_it_stands_after_it() -> None:
    waiting = settled(decided(running(), answered(500), jitter=1.0), now=NOW)
    assert (waiting.lease, waiting.ending) == (None, None)
    assert waiting.not_before == NOW + timedelta(seconds=2)
    assert waiting.last_attempt is not None
    expired = settled(expire(queued(last_attempt=waiting.last_attempt), now=NOW), now=NOW)
    assert (expired.not_before, expired.last_attempt) == (None, waiting.last_attempt)
    assert expired.ending is not None


def test_a_receiver_verifies_the_signature_with_its_own_library() -> None:
    (notice,) = told(decided(running(**HOOKED), cut("timeout")))
    body, headers = notice.spec.body or b"", signed(notice.spec.body or b"", [SECRET])
    assert Webhook(SECRET).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD_SECRET).verify(body, headers)


def test_the_library_signs_alike() -> None:
    body, now = b'{"a": 1}', datetime.now(NOW.tzinfo)
    theirs = Webhook(SECRET).sign(MESSAGE, now, body.decode())
    assert sign([SECRET], message_id=MESSAGE, timestamp=int(now.timestamp()), body=body) == theirs


def test_two_secrets_are_valid_while_they_rotate() -> None:
    headers = signed(b"{}", [SECRET, OLD_SECRET])
    assert headers["webhook-signature"].count("v1,") == 2
    assert Webhook(SECRET).verify(b"{}", headers) == {}
    assert Webhook(OLD_SECRET).verify(b"{}", headers) == {}


def test_bytes_that_are_no_text_can_be_signed() -> None:
    assert sign([SECRET], message_id=MESSAGE, timestamp=1, body=b"\xff\x00").startswith("v1,")


def test_a_secret_is_its_prefix_and_24_to_64_bytes() -> None:
    assert secret_key(SECRET) == bytes(range(32))
    for size in (24, 64):
        assert len(secret_key("whsec_" + base64.b64encode(bytes(size)).decode())) == size


@pytest.mark.parametrize(
    "secret",
    [
        *("", "whsec_", "whsec_***", SECRET.removeprefix("whsec_"), "whsec_grüße", SECRET + "!", SECRET[:-1]),
        *("whsec_" + base64.b64encode(bytes(size)).decode() for size in (23, 65)),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^a signing secret is whsec_ followed by 24 to 64 bytes in base64$"):
        secret_key(secret)


def test_a_task_that_asks_to_be_told_says_where() -> None:
    settlement = decided(running(**HOOKED), answered(200))
    nowhere = Settlement(
        task=running(), progress=settlement.progress, attempt=None, ending=settlement.ending, events=settlement.events
    )
    with pytest.raises(AssertionError, match="without a URL"):
        told(nowhere)


def signed(body: bytes, secrets: list[str]) -> dict[str, str]:
    """The headers of a delivery made now: the library refuses old ones."""
    timestamp = int(datetime.now(NOW.tzinfo).timestamp())
    return {
        "webhook-id": MESSAGE,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, message_id=MESSAGE, timestamp=timestamp, body=body),
    }


def test_a_url_that_is_refused_today_does_not_keep_its_task_from_ending() -> None:
    (notice,) = told(decided(running(webhook_url="ftp://old.example/hook"), answered(200)))
    assert (notice.spec.target_url, notice.spec.origin) == ("ftp://old.example/hook", "ftp://old.example/hook")
