"""What one outcome means for one task: streaks of the same failure, chance, and the special terms of webhooks."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from statistics import mean, pstdev

import pytest

from taskqueue.core.outcome import CLASSES, Outcome, Phase
from taskqueue.core.policy import Policy, Rule
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, Jitter
from taskqueue.core.task import TaskSpec, TaskState
from tests.core.examples import after, answered, cut, decided, running, running_webhook
from tests.core.playing import Played, again, play

SECOND = timedelta(seconds=1)
RA = (("retry-after", "120"),)
DRAWS = 1000


def poisoned(after: int, *outcomes: Outcome, **over: object) -> Played:
    return play(running(policy=Policy(poison_after=after, **over), retries=20), outcomes)  # type: ignore[arg-type]


def error(message: str) -> Outcome:
    """A function that failed with this message."""
    return Outcome(cls=CLASSES["function_init_failed"], phase=Phase.BODY, error_type="Init", error_message=message)


def test_the_same_failure_in_a_row_is_poison() -> None:
    run = poisoned(3, answered(500), answered(500), answered(500))
    assert (len(run.starts), run.ended) == (3, ("dead", "poison"))


def test_poison_is_off_unless_it_is_asked_for() -> None:
    assert play(running(retries=20), [answered(500)] * 15).last.state is TaskState.QUEUED


def test_another_failure_breaks_the_row() -> None:
    run = poisoned(3, answered(500), answered(500), answered(504), answered(500), answered(500))
    assert run.last.state is TaskState.QUEUED
    assert poisoned(3, answered(500), *[answered(504)] * 3).ended == ("dead", "poison")


def test_failures_that_differ_in_their_numbers_alone_are_the_same() -> None:
    messages = ("no file /tmp/1", "no file /tmp/2", "no file /tmp/3")
    assert poisoned(3, *map(error, messages)).ended == ("dead", "poison")
    assert poisoned(3, *map(error, ("no a", "no b", "no c"))).last.state is TaskState.QUEUED


def test_what_is_not_charged_neither_breaks_a_row_nor_counts_in_it() -> None:
    between = (answered(429), cut("worker_lost"), cut("released", Phase.NONE))
    run = poisoned(2, answered(500), *between)
    assert run.last.state is TaskState.QUEUED
    assert poisoned(2, answered(500), *between, answered(500)).ended == ("dead", "poison")
    assert poisoned(2, *[answered(429)] * 5).last.state is TaskState.QUEUED


def test_what_a_rule_charges_counts_in_a_row() -> None:
    run = poisoned(2, answered(409), answered(409), rules=(Rule(match=("conflict",), retries=9),))
    assert run.ended == ("dead", "poison")


def test_a_failure_that_is_not_retried_is_rejected_rather_than_poison() -> None:
    task = running(policy=Policy(poison_after=2), retries=20)
    first = decided(task, answered(400, headers=(("taskqueue-control", "retry"),)))
    second = decided(again(first), answered(400))
    assert second.ending is not None
    assert second.ending.reason is DeadReason.REJECTED


def test_a_success_ends_a_row() -> None:
    settlement = decided(again(decided(running(), answered(500))), answered(200))
    assert settlement.progress.memory.streak is None


def draws(spec: TaskSpec, outcome: Outcome) -> list[float]:
    """A thousand waits after ``outcome``, in seconds."""
    dice = random.Random(20260301)
    task = running(spec=spec)
    settlements = (decided(task, outcome, jitter=dice.random()) for _ in range(DRAWS))
    return [settlement.wait.total_seconds() for settlement in settlements if settlement.wait is not None]


def spread(waits: Iterable[float], least: float, most: float) -> None:
    """Fail unless ``waits`` fill the span from ``least`` to ``most`` evenly."""
    found, width = list(waits), most - least
    assert len(found) == DRAWS
    assert least <= min(found) <= least + 0.02 * width
    assert most - 0.02 * width <= max(found) <= most
    assert mean(found) == pytest.approx((least + most) / 2, abs=0.05 * width)
    assert pstdev(found) == pytest.approx(width / 12**0.5, abs=0.02 * width)
    tenths = [min(9, int((wait - least) / width * 10)) for wait in found]
    assert all(60 <= tenths.count(tenth) <= 140 for tenth in range(10))


def test_a_thousand_waits_of_each_kind_are_spread_evenly() -> None:
    equal = Policy(rules=(Rule(match=("timeout",), backoff=Backoff(initial=100 * SECOND, jitter=Jitter.EQUAL)),))
    plain = running().spec
    spread(draws(plain, answered(500)), 0, 2)
    spread(draws(plain, answered(504)), 0, 30)
    spread(draws(plain, answered(429, headers=RA)), 120, 132)
    spread(draws(plain, answered(503, headers=RA)), 120, 132)
    spread(draws(plain, answered(502, headers=RA)), 120, 132)
    spread(draws(replace(plain, policy=equal), cut("timeout")), 50, 100)
    spread(draws(replace(plain, backoff=Backoff(initial=SECOND)), answered(500)), 0, 1)
    spread(draws(running_webhook().spec, answered(500)), 4, 6)


def test_a_webhook_is_sent_again_whatever_its_receiver_answers() -> None:
    for outcome in (answered(400), answered(302), cut("timeout"), cut("tls_certificate"), answered(489)):
        settlement = decided(running_webhook(), outcome, jitter=0.5)
        assert (settlement.wait, settlement.progress.charged) == (5 * SECOND, 1)


@pytest.mark.parametrize("outcome", [answered(410), cut("target_forbidden", Phase.NONE)])
def test_two_answers_stop_a_webhook(outcome: Outcome) -> None:
    settlement = decided(running_webhook(), outcome)
    assert settlement.ending is not None
    assert settlement.ending.reason is DeadReason.REJECTED


def test_a_webhook_pays_for_a_busy_receiver_and_not_for_our_own_troubles() -> None:
    assert decided(running_webhook(), answered(429)).progress.charged == 1
    assert decided(running_webhook(), cut("released", Phase.NONE)).progress.deferred == 1
    assert decided(running_webhook(), cut("local_resource", Phase.NONE)).progress.deferred == 1
    assert decided(running_webhook(), cut("worker_lost")).progress.lost == 1


def test_no_policy_changes_how_a_webhook_is_sent() -> None:
    settlement = decided(running_webhook(policy=Policy(preset="never", poison_after=2)), answered(500), jitter=0.5)
    assert settlement.wait == 5 * SECOND


def test_the_first_wait_is_never_that_before_any_failure() -> None:
    rule = Rule(match=("worker_lost",), backoff=Backoff(initial=7 * SECOND, jitter=Jitter.NONE))
    assert decided(running(policy=Policy(rules=(rule,))), cut("worker_lost")).wait == 7 * SECOND


def test_a_task_with_failures_of_a_class_behind_it_is_judged_by_the_class() -> None:
    assert decided(after("dns_not_found", "dns_not_found", retries=9), cut("dns_not_found")).state is TaskState.QUEUED
    assert decided(after(*["dns_not_found"] * 3, retries=9), cut("dns_not_found")).state is TaskState.DEAD
