"""Credentials are never shown, and every time is spelled one way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskqueue.core.resource import attempt_resource, task_resource
from taskqueue.core.shown import masked, rfc3339
from taskqueue.core.task import FollowUp, NewTask
from tests.core.examples import NOW, a_spec, an_attempt, answered, queued


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key"),
        *("x-auth-token", "Stripe-Secret", "X-Amz-Security-Token"),
    ],
)
def test_credentials_are_masked(name: str) -> None:
    assert masked([(name, "s3cret"), ("X-Plain", "seen")]) == {name: "***", "X-Plain": "seen"}
    shown = str(task_resource(queued(headers=((name, "s3cret"),)), now=NOW))
    answer = answered(200, headers=((name.lower(), "s3cret"),))
    shown += str(attempt_resource(an_attempt(answer)))
    inner = FollowUp(task=NewTask(spec=a_spec(headers=((name, "s3cret"),))))
    outer = FollowUp(task=NewTask(spec=a_spec(on_failure=inner)))
    shown += str(task_resource(queued(on_failure=inner, on_success=outer), now=NOW))
    assert "s3cret" not in shown


@pytest.mark.parametrize("name", ["X-Keyboard", "Content-Type", "Token-Count", "X-Cookie-Policy", "X-Monkey"])
def test_what_only_sounds_like_a_credential_is_shown(name: str) -> None:
    assert masked([(name, "seen")]) == {name: "seen"}


def test_times_are_utc_with_milliseconds_cut_and_not_rounded() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    assert rfc3339(datetime(2026, 3, 1, 17, 30, 0, 999_999, tzinfo=zone)) == "2026-03-01T12:00:00.999Z"
    assert rfc3339(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)) == "2026-12-31T23:59:59.000Z"
