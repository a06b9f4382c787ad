"""Signatures, held against the reference library in both directions."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from werkzeug.datastructures import Headers

from taskqueue.client import InvalidSignature, TaskQueueError, verify
from taskqueue.core.webhook import sign

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
EVENT = {"type": "task.succeeded", "timestamp": "2030-01-31T08:00:00.000Z", "data": {"id": "a", "text": "é ✓"}}
BODY = json.dumps(EVENT, ensure_ascii=False).encode()


def signed(body: bytes = BODY, secret: str = SECRET, *, at: float | None = None) -> dict[str, str]:
    """The headers of a message, signed by the reference library."""
    when = datetime.fromtimestamp(time.time() if at is None else at, tz=UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", when, body.decode()),
    }


def test_what_the_reference_library_signs_is_verified_and_parsed() -> None:
    assert verify(signed(), BODY, SECRET) == EVENT


def test_what_the_service_signs_is_verified_here_and_by_the_reference_library() -> None:
    now = int(time.time())
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(now),
        "webhook-signature": sign([OTHER, SECRET], message_id="m", timestamp=now, body=BODY),
    }
    for secret in (SECRET, OTHER):
        assert verify(headers, BODY, secret) == EVENT
        assert Webhook(secret).verify(BODY, headers) == EVENT


@given(
    text=st.text(),
    message_id=st.text(st.characters(codec="ascii", exclude_characters=" ,"), min_size=1),
    key=st.binary(min_size=1),
)
def test_both_libraries_agree_on_any_body_id_and_secret(text: str, message_id: str, key: bytes) -> None:
    body, secret = json.dumps(text).encode(), "whsec_" + base64.b64encode(key).decode()
    now = int(time.time())
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(now, tz=UTC), body.decode())
    headers = {"webhook-id": message_id, "webhook-timestamp": str(now), "webhook-signature": signature}
    assert verify(headers, body, secret) == Webhook(secret).verify(body, headers) == text


@pytest.mark.parametrize("wrap", [dict, Headers, lambda pairs: message(pairs)], ids=["dict", "flask", "http.server"])
def test_headers_may_be_spelled_in_any_case_and_come_from_any_framework(wrap: Callable[..., dict[str, str]]) -> None:
    assert verify(wrap({name.title(): value for name, value in signed().items()}), BODY, SECRET) == EVENT


def test_a_text_body_is_taken_as_utf_8() -> None:
    assert verify(signed(), BODY.decode(), SECRET) == EVENT


@pytest.mark.parametrize("body", [b"", b"plain words", b"\xff\x00"])
def test_a_body_that_is_not_json_comes_back_as_it_is(body: bytes) -> None:
    now = int(time.time())
    headers = {"webhook-id": "m", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign([SECRET], message_id="m", timestamp=now, body=body)
    assert verify(headers, body, SECRET) == body


@pytest.mark.parametrize("secret", [SECRET.removeprefix("whsec_"), f" {SECRET}\n", SECRET.rstrip("=")])
def test_a_secret_may_come_without_prefix_or_padding_or_with_a_line_end(secret: str) -> None:
    assert verify(signed(), BODY, secret) == EVENT


def test_one_of_several_secrets_is_enough_while_they_rotate() -> None:
    assert verify(signed(), BODY, [OTHER, SECRET]) == EVENT
    assert verify(signed(), BODY, iter((SECRET, OTHER))) == EVENT


def test_one_of_several_signatures_is_enough_and_unknown_kinds_are_skipped() -> None:
    headers = signed()
    headers["webhook-signature"] = (
        f"v2,abc v1a,def {signed(secret=OTHER)['webhook-signature']} {headers['webhook-signature']}"
    )
    assert verify(headers, BODY, SECRET) == EVENT


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1"},
        {"webhook-signature": ",,, ,"},
        {"webhook-signature": "v1,\udce9é\x00"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-timestamp": "²"},
    ],
)
def test_a_message_with_one_wrong_header_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidSignature):
        verify(signed() | change, BODY, SECRET)


def test_a_signature_holds_only_as_it_was_made() -> None:
    headers = signed()
    signature, timestamp = headers["webhook-signature"], headers["webhook-timestamp"]
    for name, value in (
        ("webhook-signature", signed(secret=OTHER, at=int(timestamp))["webhook-signature"]),
        ("webhook-signature", signature.replace("v1,", "v2,")),
        ("webhook-signature", signature.removeprefix("v1,")),
        ("webhook-signature", signature[:-1]),
        ("webhook-timestamp", str(int(timestamp) + 1)),
        ("webhook-timestamp", f"0{timestamp}"),
    ):
        with pytest.raises(InvalidSignature):
            verify(headers | {name: value}, BODY, SECRET)
    assert verify(headers, BODY, SECRET) == EVENT


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_without_one_of_the_headers_is_refused(name: str) -> None:
    with pytest.raises(InvalidSignature):
        verify({other: value for other, value in signed().items() if other != name}, BODY, SECRET)


def test_a_body_that_was_touched_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="bytes that arrived"):
        verify(signed(), json.dumps(EVENT).encode(), SECRET)


@pytest.mark.parametrize("off", [-301, 301])
def test_a_message_from_another_time_is_refused_though_its_signature_holds(off: int) -> None:
    with pytest.raises(InvalidSignature, match="replay"):
        verify(signed(at=time.time() + off), BODY, SECRET)


@pytest.mark.parametrize("off", [-290, 290])
def test_clocks_may_differ_by_almost_five_minutes(off: int) -> None:
    assert verify(signed(at=time.time() + off), BODY, SECRET) == EVENT


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", f"{SECRET[:9]}!{SECRET[9:]}", "é", ["", SECRET]])
def test_a_secret_that_cannot_be_one_is_no_forgery_but_a_mistake_of_ours(secret: str | list[str]) -> None:
    with pytest.raises(TaskQueueError, match="whsec_") as caught:
        verify(signed(), BODY, secret)
    assert not isinstance(caught.value, InvalidSignature)
    assert "not base64" not in str(caught.value)


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(InvalidSignature):
        verify(signed(), BODY, [])


def message(pairs: dict[str, str]) -> Message:
    headers = Message()
    for name, value in pairs.items():
        headers[name] = value
    return headers
