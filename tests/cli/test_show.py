"""A task on the terminal: what is around it is shown where there is something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskqueue.cli.show import Surroundings, print_attempts, show_task
from taskqueue.client import Task
from taskqueue.core.outcome import Outcome
from taskqueue.core.policy import Policy, Rule
from taskqueue.core.resource import attempt_resource, task_resource
from taskqueue.core.task import Attempt, AttemptKind, FollowUp, NewTask, Progress
from tests.core.examples import NOW, TASK_ID, a_spec, an_attempt, answered, cut, decided, queued, running
from tests.core.test_explain import LETTER, after_settlement

PRINT = "0123456789abcdef"


def task(**over: Any) -> Task:
    return Task(dict(task_resource(queued(**over), now=NOW)))


def shown(task: Task, capsys: pytest.CaptureFixture[str], *attempts: Attempt, **around: Any) -> dict[str, str]:
    """The facts that are printed, by their names; those of several lines as one."""
    found = Surroundings(attempts=[attempt_resource(attempt) for attempt in attempts], **around)
    show_task(task, as_json=False, around=found)
    facts: dict[str, str] = {}
    name = ""
    for line in capsys.readouterr().out.splitlines():
        first, _, rest = line.partition("  ")
        name = first or name
        facts[name] = f"{facts.get(name, '')} {rest.strip()}".strip()
    return facts


def failed(number: int = 1) -> Attempt:
    return replace(an_attempt(cut("timeout"), number=number), fingerprint=PRINT)


def asked(number: int, status: int = 200, said: str | None = None) -> Attempt:
    outcome = replace(answered(status), error_message=said)
    return replace(an_attempt(outcome, number=number), kind=AttemptKind.RECONCILE)


def test_a_plain_task_shows_no_empty_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(task(), capsys).keys() == {"Id", "Status", "Target", "Attempt", "Created", "Next"}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(preset="lambda-async"), "lambda-async"),
        (Policy(rules=(Rule(match=("*",)),)), "1 rule"),
        (Policy(rules=(Rule(match=("timeout",)), Rule(match=("*",)))), "2 rules"),
    ],
)
def test_a_retry_policy_is_named_or_counted(capsys: pytest.CaptureFixture[str], policy: Policy, words: str) -> None:
    assert shown(task(policy=policy), capsys)["Retry policy"] == words


def test_a_failing_task_shows_the_fingerprint_of_its_last_call(capsys: pytest.CaptureFixture[str]) -> None:
    failing = task(progress=Progress(number=2), last_attempt=failed())
    assert shown(failing, capsys, failed(), asked(2, said="no idea"))["Fingerprint"] == PRINT
    assert "Fingerprint" not in shown(task(), capsys, failed())


def test_what_was_asked_and_said_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    said = "the reconcile URL said: not-done"
    assert shown(task(), capsys, failed(), asked(2, said=said))["Asked"] == f"once, last in attempt 2: {said}"
    done = shown(task(), capsys, failed(), asked(2, 503, "it is down"), asked(3))["Asked"]
    assert done == "2 times, last in attempt 3: the reconcile URL said: done"


def test_a_chain_is_listed_with_the_task_marked(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = task(), task(target_url="https://undo.example/")
    other.id = "018f0000-0000-7000-8000-000000000002"
    chain = shown(one, capsys, chain=(one, other))["Chain"]
    assert chain == (
        f"{one.id} queued POST https://target.example/work?page=1 (this task)"
        f" {other.id} queued POST https://undo.example/"
    )


@pytest.mark.parametrize(
    ("asked", "status", "marks"),
    [
        ({"on_failure": "https://undo.example/"}, "dead", " (compensation)"),
        ({"on_success": "https://undo.example/"}, "succeeded", " (on success)"),
        (dict.fromkeys(("on_failure", "on_success"), "https://undo.example/"), "dead", " (compensation)"),
        (dict.fromkeys(("on_failure", "on_success"), "https://undo.example/"), "succeeded", ""),
        ({"on_success": "https://next.example/"}, "dead", ""),
    ],
)
def test_a_chain_says_what_its_members_are_for(
    capsys: pytest.CaptureFixture[str], asked: dict[str, str], status: str, marks: str
) -> None:
    follow_ups = {name: FollowUp(task=NewTask(spec=a_spec(target_url=url))) for name, url in asked.items()}
    parent = task(spec=a_spec(**follow_ups))
    parent.status = status
    child = task(spec=a_spec(target_url="https://undo.example/", parent_id=TASK_ID))
    child.id = "018f0000-0000-7000-8000-000000000002"
    chain = shown(parent, capsys, chain=(parent, child))["Chain"]
    assert chain.endswith(f"{child.id} queued POST https://undo.example/{marks}")


def dead(outcome: Outcome) -> Task:
    died = after_settlement(decided(running(retries=0), outcome))
    return Task(dict(task_resource(died, now=NOW)))


def test_a_death_that_may_have_done_its_work_is_to_be_looked_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    hint = shown(dead(cut("timeout")), capsys)["Dead letter"]
    assert f"the work may be done already, see first: taskqueue tasks explain {TASK_ID}; run it again" in hint
    assert "explain" not in shown(dead(answered(400)), capsys)["Dead letter"]


def test_a_death_that_was_compensated_is_redriven_by_force_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    hint = shown(dead(answered(400)), capsys, compensation_id="018f")["Dead letter"]
    assert hint.endswith(f"taskqueue dead redrive {LETTER} --force")
    assert "since task 018f was submitted to compensate" in hint


def test_an_error_is_shown_with_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    raised = replace(answered(400), error_type="KeyError", error_message="'customer'")
    assert shown(dead(raised), capsys)["Error"] == "bad_request: KeyError: 'customer'"
    print_attempts([attempt_resource(an_attempt(raised))])
    assert "KeyError: 'customer'" in capsys.readouterr().out


def test_a_chain_of_one_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    one = task()
    assert "Chain" not in shown(one, capsys, chain=(one,))
