"""What a change of state tells the caller, and which deaths are of one cause."""

from __future__ import annotations

from dataclasses import replace

from taskqueue.core.lifecycle import cancel, expire
from taskqueue.core.outcome import Outcome
from taskqueue.core.task import Kind, WebhookEvent
from tests.core.examples import CAUSE, HOOKED, NOW, an_attempt, answered, cut, decided, queued, running


def test_a_failed_attempt_is_told_where_it_was_asked_for() -> None:
    assert decided(running(**HOOKED), answered(500)).events == (WebhookEvent.ATTEMPT_FAILED,)
    assert decided(running(**HOOKED), answered(400)).events == (WebhookEvent.ATTEMPT_FAILED, WebhookEvent.DEAD)
    assert decided(running(**HOOKED), answered(200)).events == (WebhookEvent.SUCCEEDED,)
    assert decided(running(**HOOKED), cut("worker_lost")).events == (WebhookEvent.ATTEMPT_FAILED,)
    assert decided(running(**HOOKED), answered(429)).events == (WebhookEvent.ATTEMPT_FAILED,)


def test_a_drained_worker_is_no_failure_to_tell_of() -> None:
    assert decided(running(**HOOKED), cut("released")).events == ()


def test_by_default_the_three_ends_are_told_and_nothing_else() -> None:
    url = HOOKED["webhook_url"]
    assert decided(running(webhook_url=url), answered(500)).events == ()
    assert decided(running(webhook_url=url), answered(400)).events == (WebhookEvent.DEAD,)
    assert decided(running(webhook_url=url), answered(200)).events == (WebhookEvent.SUCCEEDED,)
    assert cancel(queued(webhook_url=url), now=NOW).events == (WebhookEvent.CANCELLED,)


def test_nothing_is_told_that_was_not_asked_for() -> None:
    only = {"webhook_url": HOOKED["webhook_url"], "webhook_events": frozenset({WebhookEvent.SUCCEEDED})}
    assert decided(running(**only), answered(400)).events == ()
    assert decided(running(webhook_events=frozenset(WebhookEvent)), answered(400)).events == ()


def test_a_webhook_has_no_webhook_of_its_own() -> None:
    task = running(kind=Kind.WEBHOOK, cause=CAUSE, **HOOKED)
    for outcome in (answered(200), answered(500), answered(410)):
        assert decided(task, outcome).events == ()


def fingerprint(outcome: Outcome, **over: object) -> str:
    settlement = decided(running(retries=0, **over), outcome)
    assert settlement.ending is not None
    assert settlement.ending.fingerprint is not None
    return settlement.ending.fingerprint


def test_deaths_of_one_cause_share_a_fingerprint() -> None:
    def message(text: str) -> Outcome:
        return replace(cut("no_response"), error_message=text)

    same = fingerprint(message("row 17 of 4711 at 0xdeadBEEF for 018f0000-0000-7000-8000-000000000001"))
    assert same == fingerprint(message("row 3 of 9 at 0x1 for ffffffff-0000-7000-8000-00000000ffff"))
    assert same != fingerprint(message("column 17 of 4711 at 0xdeadBEEF for 018f0000-0000-7000-8000-000000000001"))
    assert len(same) == 16


def test_class_error_type_and_target_tell_deaths_apart() -> None:
    base = cut("no_response")
    prints = {
        fingerprint(base),
        fingerprint(cut("timeout")),
        fingerprint(replace(base, error_type="Other")),
        fingerprint(replace(base, error_type=None)),
        fingerprint(base, target_url="https://target.example/other"),
    }
    assert len(prints) == 5


def test_the_query_of_a_target_is_no_part_of_its_fingerprint() -> None:
    one, other = (fingerprint(cut("timeout"), target_url=f"https://target.example/work?id={n}") for n in "12")
    assert one == other


def test_a_message_that_is_no_proper_text_still_has_a_fingerprint() -> None:
    assert fingerprint(replace(cut("timeout"), error_message="broken \ud800"))
    assert fingerprint(replace(cut("timeout"), error_message=None))


def test_a_task_that_expires_waiting_shares_the_fingerprint_of_what_kept_it_waiting() -> None:
    never, failed = queued(), queued(last_attempt=an_attempt(answered(500)))
    endings = [expire(task, now=NOW).ending for task in (never, failed)]
    prints = [ending.fingerprint for ending in endings if ending]
    assert len(set(prints)) == 2
    assert prints[1] == fingerprint(answered(500))
