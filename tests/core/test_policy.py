"""Presets and rules: which failures are retried, how often, how long, and at whose expense."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain, pairwise, repeat

import pytest

from taskqueue.core.outcome import CLASSES, Outcome, Partial
from taskqueue.core.policy import FIRM, NO_POLICY, PRESETS, OnLost, Policy, Rule
from taskqueue.core.reason import DeadReason
from taskqueue.core.retry import Backoff, BackoffType, Jitter
from taskqueue.core.task import TaskState
from tests.core.examples import answered, cut, decided, running
from tests.core.playing import Played, again, hours, play

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
RA = (("retry-after", "120"),)
EVERY_SECOND = Backoff(type=BackoffType.FIXED, initial=SECOND, jitter=Jitter.NONE)
FUNCTION_FAILED = (
    *("function_error", "function_handled_error", "function_timeout", "function_out_of_memory"),
    *("function_crashed", "function_init_failed", "function_bad_result"),
)
# Nobody's failure, or nothing that another attempt could change.
NEVER_RETRIED = {"success", "cancelled", *FIRM}
OURS = {"released", "local_resource"}
LOST = {"worker_lost", "interrupted"}


def of(name: str) -> Outcome:
    """An outcome of this class; with an answer that asks for two minutes."""
    return cut(name) if name in LOST else Outcome(cls=CLASSES[name], response=answered(200, headers=RA).response)


def preset(name: str, **over: object) -> Policy:
    return Policy(preset=name, **over)  # type: ignore[arg-type]


def rules(*made: Rule) -> Policy:
    return Policy(rules=made)


def rule(*match: str, **over: object) -> Rule:
    return Rule(match=match, **over)  # type: ignore[arg-type]


def played(policy: Policy, *names: str, retries: int = 3, jitter: float = 1.0, **over: object) -> Played:
    """A task under ``policy`` whose attempts end like ``names``, the last of them for ever."""
    outcomes = chain(map(of, names), repeat(of(names[-1]), 2000))
    return play(running(policy=policy, retries=retries, **over), outcomes, jitter=jitter)


def test_a_task_without_a_policy_is_decided_by_the_table() -> None:
    assert list(NO_POLICY.all_rules) == list(preset("default").all_rules) == []
    assert NO_POLICY.rule_for(of("server_error")) is None
    for name in CLASSES:
        plain, asked = decided(running(), of(name)), decided(running(policy=preset("default")), of(name))
        assert (plain.wait, plain.ending, plain.progress) == (asked.wait, asked.ending, asked.progress)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", [*FUNCTION_FAILED, "server_error", "timeout", "no_response", "gateway_timeout"])
def test_lambda_async_tries_a_failed_function_again_after_one_and_two_minutes(name: str, jitter: float) -> None:
    run = played(preset("lambda-async"), name, jitter=jitter)
    assert run.starts == [0, 60, 180]
    assert run.ended == ("dead", "exhausted")


def test_lambda_async_counts_two_retries_whatever_the_task_has() -> None:
    for retries in (0, 100):
        assert played(preset("lambda-async"), "function_error", retries=retries).starts == [0, 60, 180]


@pytest.mark.parametrize("name", ["bad_gateway", "unavailable"])
def test_lambda_async_waits_longer_where_the_target_asks_for_it(name: str) -> None:
    assert played(preset("lambda-async"), name, jitter=0.0).starts == [0, 120, 240]


@pytest.mark.parametrize("name", ["throttled", "service_error"])
@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_lambda_async_has_six_hours_of_patience_with_a_busy_service(name: str, jitter: float) -> None:
    busy = Outcome(cls=CLASSES[name])
    run = play(running(policy=preset("lambda-async"), retries=0), repeat(busy, 2000), jitter=jitter)
    assert run.ended == ("dead", "exhausted")
    assert hours(6) - 300 <= run.starts[-1] <= hours(6)
    assert run.last.progress.charged == 0
    waits = [later - earlier for earlier, later in pairwise(run.starts)]
    sure = 0.5 + 0.5 * jitter
    assert waits[:10] == pytest.approx([max(1, sure * min(2**n, 300)) for n in range(10)])
    assert waits[-1] == pytest.approx(300 * sure)


def test_lambda_async_leaves_patience_and_retries_apart() -> None:
    throttled = Outcome(cls=CLASSES["throttled"])
    outcomes = [throttled] * 5 + [of("function_error")] * 3
    run = play(running(policy=preset("lambda-async")), outcomes)
    assert len(run.starts) == 8
    assert [run.starts[-1] - run.starts[-2], run.starts[-2] - run.starts[-3]] == [120, 60]
    assert run.ended == ("dead", "exhausted")


@pytest.mark.parametrize("name", ["connect_refused", "dns_failure", "bad_request", "function_config"])
def test_lambda_async_leaves_the_rest_to_the_table(name: str) -> None:
    asked, plain = played(preset("lambda-async"), name), played(NO_POLICY, name)
    assert (asked.starts, asked.ended) == (plain.starts, plain.ended)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - NEVER_RETRIED - OURS - LOST))
def test_any_error_retries_every_failure_as_often_as_the_task_may(name: str) -> None:
    run = played(preset("any-error"), name, retries=5)
    assert len(run.starts) == 6
    assert run.ended == ("dead", "exhausted")
    assert run.last.progress.charged == 6


def test_any_error_waits_as_the_class_or_the_task_says() -> None:
    assert played(preset("any-error"), "bad_request").starts == [0, 2, 6, 14]
    assert played(preset("any-error"), "gateway_timeout").starts == [0, 30, 90, 210]
    assert played(preset("any-error"), "bad_request", backoff=EVERY_SECOND).starts == [0, 1, 2, 3]


@pytest.mark.parametrize("name", sorted(FIRM))
def test_a_firm_no_stands_whatever_a_rule_says(name: str) -> None:
    for policy in (preset("any-error"), rules(rule("*", name, retries=9))):
        assert played(policy, name).ended == ("dead", "rejected")
        assert policy.rule_for(of(name)) is None


@pytest.mark.parametrize("policy", [preset("any-error"), rules(rule("*", retries=0))])
def test_what_is_no_failure_of_the_target_is_no_matter_of_rules(policy: Policy) -> None:
    assert decided(running(policy=policy), answered(200)).state is TaskState.SUCCEEDED
    for name in OURS:
        settlement = decided(running(policy=policy, retries=0), of(name))
        assert (settlement.state, settlement.progress.deferred) == (TaskState.QUEUED, 1)
    for name in LOST:
        assert decided(running(policy=policy), of(name)).progress.lost == 1


@pytest.mark.parametrize("name", sorted(set(CLASSES) - NEVER_RETRIED - OURS))
def test_never_makes_the_first_failure_the_last(name: str) -> None:
    run = played(preset("never"), name, retries=100)
    assert (run.starts, run.ended) == ([0], ("dead", "rejected"))
    progress = run.last.progress
    assert (progress.charged, progress.lost) == ((0, 1) if name in LOST else (1, 0))


def test_never_still_succeeds_and_outlives_our_own_troubles() -> None:
    assert decided(running(policy=preset("never")), answered(200)).state is TaskState.SUCCEEDED
    assert decided(running(policy=preset("never")), of("released")).state is TaskState.QUEUED


def test_every_preset_has_a_name_of_its_own() -> None:
    assert list(PRESETS) == ["default", "any-error", "lambda-async", "never"]


def test_the_first_rule_that_matches_decides() -> None:
    policy = rules(rule("status:409", retries=1), rule("conflict", retries=5), rule("*", retries=9))
    assert policy.rule_for(answered(409)) == 0
    assert policy.rule_for(answered(423)) == 1
    assert policy.rule_for(answered(500)) == 2
    assert rules(rule("timeout")).rule_for(answered(500)) is None


def test_a_rule_may_retry_what_the_table_gives_up_and_give_up_what_it_retries() -> None:
    policy = rules(rule("bad_request", retries=2), rule("server_error", retries=0))
    assert len(played(policy, "bad_request").starts) == 3
    assert played(policy, "bad_request").ended == ("dead", "exhausted")
    assert played(policy, "server_error").ended == ("dead", "rejected")


def test_a_rule_may_list_the_errors_that_a_function_handled_itself() -> None:
    policy = rules(rule("errorType:Account*", retries=1))
    handled = Outcome(cls=CLASSES["function_handled_error"], error_type="AccountLocked")
    assert decided(running(policy=policy), handled).state is TaskState.QUEUED
    other = Outcome(cls=CLASSES["function_handled_error"], error_type="NoSuchAccount")
    assert decided(running(policy=policy), other).state is TaskState.DEAD


def test_rules_with_budgets_of_their_own_use_up_no_other() -> None:
    policy = rules(rule("status:500", retries=2), rule("conflict", retries=1))
    outcomes = [answered(500), answered(409), answered(500), answered(504), answered(504)]
    run = play(running(policy=policy, retries=2), outcomes)
    assert run.last.state is TaskState.QUEUED
    assert (run.last.progress.charged, run.last.progress.memory.apart) == (5, 3)
    last_of_task = decided(again(run.last), answered(504))
    assert last_of_task.ending is not None
    assert last_of_task.ending.reason is DeadReason.EXHAUSTED
    last_of_rule = play(again(run.last), [answered(500)])
    assert last_of_rule.ended == ("dead", "exhausted")


def test_a_rules_own_budget_does_not_count_against_the_bound_of_a_class() -> None:
    policy = rules(rule("status:409", retries=5))
    run = play(running(policy=policy, retries=9), [answered(409)] * 5 + [answered(423)] * 3)
    assert run.last.state is TaskState.QUEUED
    assert decided(again(run.last), answered(423)).state is TaskState.DEAD


def test_a_rule_without_a_budget_counts_against_the_task_and_lifts_the_bound_of_the_class() -> None:
    policy = rules(rule("conflict"))
    assert len(played(policy, "conflict", retries=8).starts) == 9
    mixed = played(policy, "conflict", "conflict", "server_error", retries=3)
    assert (len(mixed.starts), mixed.last.progress.memory.apart) == (4, 0)


def test_a_rules_own_waits_replace_those_of_class_and_task() -> None:
    policy = rules(rule("timeout", backoff=EVERY_SECOND, retries=3))
    assert played(policy, "timeout", backoff=Backoff(initial=HOUR)).starts == [0, 1, 2, 3]
    without = rules(rule("timeout", retries=2))
    assert played(without, "timeout").starts == [0, 2, 6]
    assert played(without, "timeout", backoff=EVERY_SECOND).starts == [0, 1, 2]
    slow = rules(rule("gateway_timeout", retries=2))
    assert played(slow, "gateway_timeout").starts == [0, 30, 90]


def test_the_waits_of_a_rule_grow_with_what_it_matched_and_nothing_else() -> None:
    policy = rules(rule("timeout", retries=5, backoff=Backoff(initial=MINUTE, jitter=Jitter.NONE)))
    run = play(running(policy=policy), [answered(500), answered(500), cut("timeout"), answered(500), cut("timeout")])
    waits = [later - earlier for earlier, later in pairwise(run.starts)]
    assert waits == [2, 4, 60, 8]
    assert run.last.wait == 2 * MINUTE


def test_a_deferral_by_rule_uses_up_no_retry_and_is_bounded_by_expiry() -> None:
    policy = rules(rule("conflict", charge=False, backoff=Backoff(initial=HOUR, max=HOUR, jitter=Jitter.NONE)))
    conflict = Outcome(cls=CLASSES["conflict"])
    run = play(running(policy=policy, retries=0, expires_in=timedelta(hours=10)), repeat(conflict, 100))
    assert run.ended == ("dead", "expired")
    assert len(run.starts) == 10
    assert (run.last.progress.charged, run.last.progress.deferred) == (0, 10)
    assert run.last.attempt is not None
    assert not run.last.attempt.charged


def test_a_deferral_by_rule_may_have_a_budget_of_its_own() -> None:
    run = played(rules(rule("conflict", charge=False, retries=4)), "conflict", retries=0)
    assert len(run.starts) == 5
    assert run.ended == ("dead", "exhausted")
    assert (run.last.progress.charged, run.last.progress.memory.apart) == (0, 0)


def test_a_rules_patience_counts_from_its_first_match() -> None:
    policy = rules(rule("conflict", charge=False, within=10 * MINUTE, backoff=Backoff(initial=MINUTE, max=MINUTE)))
    run = play(running(policy=policy), [answered(504), *[answered(409)] * 100])
    first = run.starts[1]
    assert first == 30
    assert run.starts[-1] == first + 600
    assert run.ended == ("dead", "exhausted")


def test_a_rule_that_was_patient_enough_is_named_before_expiry() -> None:
    policy = rules(rule("conflict", within=MINUTE, backoff=Backoff(initial=HOUR, jitter=Jitter.NONE)))
    run = played(policy, "conflict", expires_in=MINUTE)
    assert run.ended == ("dead", "exhausted")


def test_patience_may_end_before_the_budget_and_the_budget_before_patience() -> None:
    def run(within: timedelta) -> Played:
        return played(rules(rule("timeout", retries=4, within=within, backoff=EVERY_SECOND)), "timeout")

    assert run(2 * SECOND).starts == [0, 1, 2]
    assert run(HOUR).starts == [0, 1, 2, 3, 4]
    assert run(HOUR).ended == run(2 * SECOND).ended == ("dead", "exhausted")


@pytest.mark.parametrize("name", sorted(LOST))
def test_a_rule_may_set_a_limit_of_its_own_for_lost_workers(name: str) -> None:
    run = played(rules(rule(name, retries=6)), name)
    assert len(run.starts) == 7
    assert run.ended == ("dead", "exhausted")
    assert (run.last.progress.lost, run.last.progress.charged) == (7, 0)


def test_workers_that_a_rule_counts_leave_the_limit_for_the_others() -> None:
    policy = rules(rule("worker_lost", retries=9))
    run = play(running(policy=policy), [of("worker_lost")] * 5 + [of("interrupted")] * 3)
    assert run.last.state is TaskState.QUEUED
    assert play(again(run.last), [of("interrupted")]).ended == ("dead", "lost")


def test_a_rule_for_lost_workers_without_a_budget_keeps_to_the_operators_limit() -> None:
    run = played(rules(rule("worker_lost", backoff=EVERY_SECOND)), "worker_lost")
    assert run.starts == [0, 1, 2, 3]
    assert run.ended == ("dead", "lost")


def test_a_lost_worker_is_never_a_deferral() -> None:
    free = rule("partial:possible", charge=False)
    settlement = decided(running(policy=rules(free)), of("worker_lost"))
    assert (settlement.progress.lost, settlement.progress.deferred) == (1, 0)
    dead = decided(running(policy=Policy(rules=(free,), on_lost=OnLost.DEAD)), of("worker_lost"))
    assert dead.ending is not None
    assert dead.ending.reason is DeadReason.LOST


@pytest.mark.parametrize("name", sorted(LOST))
def test_a_task_may_die_of_its_first_lost_worker(name: str) -> None:
    for policy in (Policy(on_lost=OnLost.DEAD), preset("any-error", on_lost=OnLost.DEAD)):
        settlement = decided(running(policy=policy), of(name))
        assert settlement.ending is not None
        assert (settlement.ending.reason, settlement.ending.worst_partial) == (DeadReason.LOST, Partial.POSSIBLE)
    assert decided(running(policy=Policy(on_lost=OnLost.DEAD)), answered(500)).state is TaskState.QUEUED


def test_a_rule_hears_what_the_target_says_of_waiting() -> None:
    policy = rules(rule("throttled", retries=2, backoff=EVERY_SECOND))
    assert play(running(policy=policy), [answered(429, headers=RA)] * 3, jitter=0.0).starts == [0, 120, 240]
