"""The task resource: status labels, times, what is masked, and a body that is text or is not."""

from __future__ import annotations

import base64
import itertools
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from taskqueue.core.asked import asked_resource
from taskqueue.core.memory import Asking, Memory
from taskqueue.core.outcome import CLASSES, Outcome, Partial, Phase, Response, Timings
from taskqueue.core.policy import Policy, Rule
from taskqueue.core.reason import DeadReason
from taskqueue.core.resource import attempt_resource, max_attempts, status, task_resource
from taskqueue.core.retry import Backoff, Jitter
from taskqueue.core.task import AttemptKind, DeadLetterId, Ending, Kind, Progress, Task, TaskId, TaskState
from tests.core.examples import ATTEMPT_ID, CAUSE, NOW, TASK_ID, an_attempt, answered, cut, decided, queued, running

LATER = NOW + timedelta(seconds=30)


def ended(state: TaskState, *, outcome: Outcome | None = None, reason: DeadReason | None = None) -> Task:
    """A task that ended now, by ``outcome`` if there was an attempt."""
    last = an_attempt(outcome) if outcome else None
    ending = Ending(
        state=state,
        finished_at=NOW,
        reason=reason,
        cls=outcome.cls.name if outcome else None,
        worst_partial=outcome.partial if outcome else Partial.NO,
    )
    progress = Progress(seq=3, number=1 if outcome else 0)
    return queued(state=state, not_before=None, ending=ending, last_attempt=last, progress=progress)


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (queued(not_before=LATER), "scheduled"),
        (queued(not_before=NOW), "queued"),
        (queued(not_before=NOW, held=True), "queued"),
        (queued(not_before=None), "queued"),
        (queued(not_before=LATER, progress=Progress(number=1)), "retrying"),
        (queued(not_before=NOW, progress=Progress(number=1)), "retrying"),
        (running(), "running"),
        (running(progress=Progress(number=4)), "running"),
        (ended(TaskState.SUCCEEDED, outcome=answered(200)), "succeeded"),
        (ended(TaskState.DEAD, outcome=answered(400), reason=DeadReason.REJECTED), "dead"),
        (ended(TaskState.CANCELLED), "cancelled"),
    ],
)
def test_scheduled_and_retrying_are_labels_of_a_queued_task(task: Task, label: str) -> None:
    assert status(task, now=NOW) == label
    assert task_resource(task, now=NOW)["status"] == label


def test_a_waiting_task_is_shown_with_what_was_asked_and_how_it_stands() -> None:
    task = queued(webhook_url="https://caller.example/hook", retries=4)
    resource = task_resource(task, now=NOW)
    how_it_stands = {
        "id": str(TASK_ID),
        "kind": "task",
        "status": "queued",
        "parentId": None,
        "rootId": str(TASK_ID),
        "attempt": 0,
        "maxAttempts": 5,
        "generation": 1,
        "seq": 1,
        "createdAt": "2026-03-01T11:59:00.000Z",
        "runAt": "2026-03-01T11:59:00.000Z",
        "startedAt": None,
        "finishedAt": None,
        "nextAttemptAt": "2026-03-01T12:00:00.000Z",
        "expiresAt": "2026-03-08T12:00:00.000Z",
        "result": None,
        "error": None,
        "deadReason": None,
        "deadLetterId": None,
        "links": {
            "self": f"/v1/tasks/{TASK_ID}",
            "attempts": f"/v1/tasks/{TASK_ID}/attempts",
            "chain": f"/v1/tasks/{TASK_ID}/chain",
            "explain": f"/v1/tasks/{TASK_ID}/explain",
            "webhooks": f"/v1/tasks/{TASK_ID}/webhooks",
        },
    }
    assert resource == {**asked_resource(task.spec), **how_it_stands}


def test_a_webhook_says_what_it_is() -> None:
    assert task_resource(queued(kind=Kind.WEBHOOK, cause=CAUSE), now=NOW)["kind"] == "webhook"


def test_a_follow_up_names_the_task_before_it_and_the_first_of_all() -> None:
    parent, root = TaskId(UUID(int=8)), TaskId(UUID(int=9))
    resource = task_resource(queued(parent_id=parent, root_id=root), now=NOW)
    assert (resource["parentId"], resource["rootId"]) == (str(parent), str(root))


def test_a_dead_task_names_its_dead_letter() -> None:
    letter = DeadLetterId(UUID(int=7))
    dead = replace(ended(TaskState.DEAD, outcome=answered(400), reason=DeadReason.REJECTED), dead_letter_id=letter)
    resource = task_resource(dead, now=NOW)
    assert resource["deadLetterId"] == str(letter)
    assert resource["links"]["deadLetter"] == f"/v1/dead-letters/{letter}"


def test_links_lead_only_to_what_there_can_be() -> None:
    assert task_resource(queued(), now=NOW)["links"].keys() == {"self", "attempts", "chain", "explain"}


def test_a_running_task_has_a_start_and_no_next_attempt() -> None:
    resource = task_resource(running(), now=NOW)
    assert (resource["startedAt"], resource["nextAttemptAt"]) == ("2026-03-01T11:59:58.000Z", None)
    assert resource["attempt"] == 1


def test_nobody_knows_when_a_held_task_comes_next() -> None:
    assert task_resource(queued(held=True), now=NOW)["nextAttemptAt"] is None


def test_a_retrying_task_shows_its_error_and_no_result() -> None:
    task = queued(not_before=LATER, progress=Progress(number=1), last_attempt=an_attempt(cut("timeout")))
    resource = task_resource(task, now=NOW)
    assert resource["result"] is None
    assert resource["startedAt"] == "2026-03-01T11:59:57.500Z"
    assert resource["error"] == {
        "class": "timeout",
        "type": "TestFailure",
        "message": "it ended as timeout",
        "retryable": True,
        "partialWork": "likely",
        "compensation": True,
    }


def test_a_succeeded_task_shows_its_result_and_no_error() -> None:
    resource = task_resource(ended(TaskState.SUCCEEDED, outcome=answered(201, body=b'{"id": 7}')), now=NOW)
    assert resource["finishedAt"] == "2026-03-01T12:00:00.000Z"
    assert (resource["error"], resource["deadReason"]) == (None, None)
    assert resource["result"] == {
        "statusCode": 201,
        "headers": {},
        "body": '{"id": 7}',
        "truncated": False,
        "durationMs": 2500.0,
    }


def test_a_dead_task_shows_both_and_the_worst_that_may_have_happened() -> None:
    task = ended(TaskState.DEAD, outcome=answered(400), reason=DeadReason.REJECTED)
    assert task.ending is not None
    worst = Ending(state=TaskState.DEAD, finished_at=NOW, reason=DeadReason.REJECTED, worst_partial=Partial.LIKELY)
    resource = task_resource(queued(state=TaskState.DEAD, ending=worst, last_attempt=task.last_attempt), now=NOW)
    assert resource["deadReason"] == "rejected"
    assert resource["error"] is not None
    assert (resource["error"]["class"], resource["error"]["retryable"]) == ("bad_request", False)
    assert resource["error"]["partialWork"] == "likely"
    assert resource["result"] is not None
    assert resource["result"]["statusCode"] == 400


def test_a_task_that_expired_waiting_says_so() -> None:
    resource = task_resource(ended(TaskState.DEAD, reason=DeadReason.EXPIRED), now=NOW)
    assert resource["result"] is None
    assert resource["error"] == {
        "class": "expired",
        "type": "Expired",
        "message": "the task expired before an attempt could start",
        "retryable": False,
        "partialWork": "no",
        "compensation": False,
    }


def test_a_task_that_expired_after_a_failure_shows_the_failure() -> None:
    error = task_resource(ended(TaskState.DEAD, outcome=cut("timeout"), reason=DeadReason.EXPIRED), now=NOW)["error"]
    assert error is not None
    assert error["class"] == "timeout"


def test_a_task_that_was_cancelled_waiting_has_no_error() -> None:
    resource = task_resource(ended(TaskState.CANCELLED), now=NOW)
    assert (resource["error"], resource["result"]) == (None, None)


def test_an_attempt_without_an_answer_has_no_result() -> None:
    assert (
        task_resource(ended(TaskState.DEAD, outcome=cut("timeout"), reason=DeadReason.LOST), now=NOW)["result"] is None
    )


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_compensation_is_for_those_who_must_act_or_look(name: str) -> None:
    outcome = Outcome(cls=CLASSES[name], phase=Phase.SENT)
    asked = name in {
        *("timeout", "truncated_response", "gateway_timeout", "function_timeout", "function_out_of_memory"),
        *("function_crashed", "function_bad_result"),
    }
    assert attempt_resource(an_attempt(outcome))["compensation"] == asked


def test_a_body_that_is_no_text_is_shown_in_base64() -> None:
    for body in (b"\xff\xfe\x00", b"caf\xe9", b"\xed\xa0\x80"):
        result = attempt_resource(an_attempt(answered(200, body=body)))["response"]
        assert result is not None
        assert "body" not in result
        assert base64.b64decode(result["bodyBase64"]) == body


def test_a_body_that_is_text_is_shown_as_it_is() -> None:
    for body in (b"", b"\x00", "grüße, 世界".encode()):
        result = attempt_resource(an_attempt(answered(200, body=body, truncated=True)))["response"]
        assert result is not None
        assert "bodyBase64" not in result
        assert (result["body"].encode(), result["truncated"]) == (body, True)


def test_an_attempt_is_shown_with_all_that_was_measured() -> None:
    timings = Timings(dns=0.001, connect=0.002, tls=0.003, send=0.004, wait=0.005, read=None)
    outcome = Outcome(
        cls=CLASSES["server_error"],
        phase=Phase.BODY,
        response=Response(status=500, headers=(("server", "x"),), body=b"no"),
        error_type="HTTPStatus",
        error_message="the target answered 500",
        stack=("main.py, line 3, in handler", "pay.py, line 9, in pay"),
        timings=timings,
        bytes_sent=10,
        bytes_received=20,
    )
    assert attempt_resource(replace(an_attempt(outcome, number=3), fingerprint="00ff00ff00ff00ff")) == {
        "id": str(ATTEMPT_ID),
        "number": 3,
        "kind": "call",
        "class": "server_error",
        "charged": True,
        "phase": "body",
        "statusCode": 500,
        "errorType": "HTTPStatus",
        "errorMessage": "the target answered 500",
        "stackTrace": ["main.py, line 3, in handler", "pay.py, line 9, in pay"],
        "fingerprint": "00ff00ff00ff00ff",
        "partialWork": "possible",
        "compensation": False,
        "timings": {"dns": 0.001, "connect": 0.002, "tls": 0.003, "send": 0.004, "wait": 0.005, "read": None},
        "bytesSent": 10,
        "bytesReceived": 20,
        "response": {
            "statusCode": 500,
            "headers": {"server": "x"},
            "body": "no",
            "truncated": False,
            "durationMs": 2500.0,
        },
        "startedAt": "2026-03-01T11:59:57.500Z",
        "finishedAt": "2026-03-01T12:00:00.000Z",
        "worker": "worker-1",
    }


def test_an_attempt_that_got_no_answer_shows_none() -> None:
    resource = attempt_resource(an_attempt(cut("connect_refused", Phase.CONNECT)))
    assert (resource["statusCode"], resource["response"]) == (None, None)
    assert (resource["phase"], resource["partialWork"]) == ("connect", "no")


def test_an_attempt_that_only_asked_says_so() -> None:
    asked = replace(an_attempt(answered(200), number=2), kind=AttemptKind.RECONCILE)
    assert attempt_resource(asked)["kind"] == "reconcile"


def test_a_task_whose_work_was_found_done_shows_what_was_said_of_it_as_its_result() -> None:
    task = ended(TaskState.SUCCEEDED, outcome=answered(200, body=b'{"id":7}'))
    assert task.last_attempt is not None
    found = replace(task, last_attempt=replace(task.last_attempt, kind=AttemptKind.RECONCILE))
    resource = task_resource(found, now=NOW)
    assert resource["result"] is not None
    assert (resource["result"]["body"], resource["error"]) == ('{"id":7}', None)


class TestTheMostAttempts:
    """What `maxAttempts` and `Taskqueue-Max-Attempts` say."""

    @pytest.mark.parametrize(
        ("progress", "most"),
        [
            (Progress(), 4),
            (Progress(number=2, charged=1), 4),
            (Progress(number=3, lost=1, deferred=1), 6),
            (Progress(number=8, charged=7, memory=Memory(apart=6)), 10),
            (Progress(number=4, charged=4, memory=Memory(asking=Asking())), 5),
            (Progress(number=6, charged=4, deferred=1, memory=Memory(asking=Asking(failures=1))), 6),
        ],
        ids=["new", "charged", "lost and deferred", "a rule's own budget", "about to ask", "asks again"],
    )
    def test_it_counts_what_used_up_no_retry_on_top(self, progress: Progress, most: int) -> None:
        task = queued(retries=3, progress=progress)
        assert max_attempts(task) == task_resource(task, now=NOW)["maxAttempts"] == most

    @pytest.mark.parametrize(("number", "most"), [(2, 4), (21, 21)])
    def test_of_an_ended_task_it_is_what_the_store_still_knows_of(self, number: int, most: int) -> None:
        task = ended(TaskState.SUCCEEDED, outcome=answered(200))
        for memory in (Memory(), Memory(apart=number - 1)):
            assert max_attempts(replace(task, progress=Progress(number=number, charged=number, memory=memory))) == most

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_no_life_leads_beyond_it(self, retries: int) -> None:
        """A rule with a budget of its own, failures that use up retries, and free ones, in every order."""
        own = Rule(match=("conflict",), retries=2, backoff=Backoff(jitter=Jitter.NONE))
        policy = Policy(rules=(own,))
        for statuses in itertools.product((409, 500, 429), repeat=5):
            task = running(retries=retries, policy=policy)
            for code in statuses:
                assert task.progress.number <= max_attempts(task)
                settlement = decided(task, answered(code))
                if settlement.ending is not None:
                    break
                progress = replace(settlement.progress, number=settlement.progress.number + 1)
                task = replace(task, progress=progress)
