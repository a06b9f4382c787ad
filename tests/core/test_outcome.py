"""How an answer, a failure or a lapse is read into an outcome, and how far its phase lowers the partial work."""

from __future__ import annotations

import pytest

from taskqueue.core.answer import class_of_status
from taskqueue.core.outcome import (
    CLASSES,
    KEPT_BODY,
    Outcome,
    Partial,
    Phase,
    Response,
    failed,
    lapsed,
)
from tests.core.examples import answered

ABORT = ("taskqueue-control", "abort")
EARLY = (Phase.NONE, Phase.DNS, Phase.CONNECT, Phase.TLS)


def test_an_answer_is_on_record_with_all_that_was_measured() -> None:
    outcome = answered(500, headers=(("x-trace", "1"),), body=b"boom")
    assert outcome.phase is Phase.BODY
    assert outcome.response == Response(status=500, headers=(("x-trace", "1"),), body=b"boom")
    assert (outcome.bytes_sent, outcome.bytes_received) == (300, 104)
    assert outcome.timings.wait == 0.01
    assert (outcome.error_type, outcome.error_message) == ("HTTPStatus", "the target answered 500")


def test_a_success_carries_no_error() -> None:
    outcome = answered(200)
    assert (outcome.cls.name, outcome.error_type, outcome.error_message) == ("success", None, None)
    assert not outcome.forced_retry


def test_a_function_that_failed_behind_a_200_is_a_failure() -> None:
    for said, name in [
        ("Unhandled", "function_error"),
        (" handled ", "function_handled_error"),
        ("", "function_error"),
    ]:
        outcome = answered(200, headers=(("x-amz-function-error", said),))
        assert outcome.cls.name == name
        assert outcome.error_type == "X-Amz-Function-Error"
        assert outcome.error_message == f"the target answered 200, but its function failed ({said})"


def test_a_functions_own_words_are_cut() -> None:
    outcome = answered(202, headers=(("x-amz-function-error", "x" * 5000),))
    assert outcome.error_message is not None
    assert len(outcome.error_message) < 200


def test_a_function_error_matters_only_where_the_status_says_that_all_is_well() -> None:
    assert answered(503, headers=(("x-amz-function-error", "Unhandled"),)).cls.name == "unavailable"


def test_a_2xx_whose_body_was_cut_is_likely_done_and_not_whole() -> None:
    outcome = answered(200, complete=False)
    assert outcome.cls.name == "truncated_response"
    assert outcome.error_message is not None
    assert "before the body was whole" in outcome.error_message
    assert answered(500, complete=False).cls.name == "server_error"


def test_a_function_error_is_named_before_a_cut_body() -> None:
    headers = (("x-amz-function-error", "Unhandled"),)
    assert answered(200, headers=headers, complete=False).cls.name == "function_error"


def test_a_body_over_our_own_cap_is_still_a_success() -> None:
    outcome = answered(200, truncated=True)
    assert outcome.cls.name == "success"
    assert outcome.response is not None
    assert outcome.response.truncated


@pytest.mark.parametrize("header", [ABORT, ("taskqueue-control", " ABORT "), ("upstash-nonretryable-error", " True ")])
@pytest.mark.parametrize("status", [500, 503, 504, 429, 400, 301])
def test_a_target_may_abort_and_its_status_still_tells_of_partial_work(header: tuple[str, str], status: int) -> None:
    outcome = answered(status, headers=(header,))
    assert outcome.cls.name == "aborted"
    assert not outcome.cls.retryable
    assert outcome.partial == class_of_status(status).partial
    assert outcome.cls.compensation == CLASSES["aborted"].compensation


def test_a_function_that_failed_may_abort_too() -> None:
    outcome = answered(200, headers=(ABORT, ("x-amz-function-error", "Unhandled")))
    assert (outcome.cls.name, outcome.partial) == ("aborted", Partial.POSSIBLE)


def test_a_success_cannot_be_aborted_nor_asked_for_again() -> None:
    assert answered(200, headers=(ABORT,)).cls.name == "success"
    again = answered(200, headers=(("taskqueue-control", "retry"),))
    assert again.cls.name == "success"
    assert not again.forced_retry


def test_only_the_two_known_words_steer() -> None:
    for word in ("", "aborted", "stop", "retry-later"):
        outcome = answered(400, headers=(("taskqueue-control", word),))
        assert (outcome.cls.name, outcome.forced_retry) == ("bad_request", False)
    assert answered(500, headers=(("upstash-nonretryable-error", "false"),)).cls.name == "server_error"


@pytest.mark.parametrize("status", [500, 404, 489])
def test_to_abort_is_the_last_word(status: int) -> None:
    outcome = answered(status, headers=(("taskqueue-control", "retry"), ("upstash-nonretryable-error", "true")))
    assert (outcome.cls.name, outcome.forced_retry) == ("aborted", False)


def test_a_489_cannot_be_asked_for_again() -> None:
    outcome = answered(489, headers=(("taskqueue-control", "retry"),))
    assert (outcome.cls.name, outcome.forced_retry) == ("aborted", False)


def test_a_retry_that_the_table_gives_anyway_need_not_be_forced() -> None:
    assert not answered(500, headers=(("taskqueue-control", "retry"),)).forced_retry
    assert answered(404, headers=(("taskqueue-control", "Retry"),)).forced_retry


def test_the_first_header_of_a_name_counts() -> None:
    response = Response(status=200, headers=(("a", "1"), ("b", "2"), ("a", "3")))
    assert (response.header("a"), response.header("b"), response.header("c")) == ("1", "2", None)


def test_what_goes_on_record_of_a_body_is_short() -> None:
    short, cut_off = answered(body=b"x" * KEPT_BODY), failed("timeout", "X", "y")
    assert short.trimmed() is short
    assert cut_off.trimmed() is cut_off
    kept = answered(body=b"x" * (KEPT_BODY + 1)).trimmed().response
    assert kept == Response(status=200, body=b"x" * KEPT_BODY, truncated=True)


@pytest.mark.parametrize("name", ["timeout", "no_response", "send_aborted", "protocol_error", "connect_refused"])
def test_no_work_can_have_begun_before_sending_and_little_during_it(name: str) -> None:
    whole = CLASSES[name].partial
    for phase in EARLY:
        assert failed(name, "X", "y", phase=phase).partial is Partial.NO
    assert failed(name, "X", "y", phase=Phase.SENDING).partial == min(whole, Partial.POSSIBLE)
    for phase in (Phase.SENT, Phase.HEADERS, Phase.BODY):
        assert failed(name, "X", "y", phase=phase).partial == whole


@pytest.mark.parametrize("name", ["worker_lost", "interrupted", "cancelled"])
def test_what_nobody_watched_is_judged_by_its_class_alone(name: str) -> None:
    for phase in Phase:
        assert failed(name, "X", "y", phase=phase).partial is Partial.POSSIBLE


def test_a_trouble_of_our_own_leaves_doubt_once_the_request_was_on_its_way() -> None:
    for phase in EARLY:
        assert failed("local_resource", "X", "y", phase=phase).partial is Partial.NO
    for phase in (Phase.SENDING, Phase.SENT, Phase.HEADERS, Phase.BODY):
        assert failed("local_resource", "X", "y", phase=phase).partial is Partial.POSSIBLE


def test_an_answer_is_judged_by_its_class_alone() -> None:
    outcome = Outcome(cls=CLASSES["gateway_timeout"], phase=Phase.NONE, response=Response(status=504))
    assert outcome.partial is Partial.LIKELY


def test_a_lapsed_lease_is_an_outcome_like_any_other() -> None:
    outcome = lapsed()
    assert (outcome.cls.name, outcome.error_type, outcome.response) == ("worker_lost", "LeaseLapsed", None)


def test_labels_are_what_the_api_shows() -> None:
    assert [partial.label for partial in Partial] == ["no", "possible", "likely"]
    phases = ["none", "dns", "connect", "tls", "sending", "sent", "headers", "body"]
    assert [phase.label for phase in Phase] == phases


def test_every_class_says_what_it_means() -> None:
    for name, row in CLASSES.items():
        assert row.name == name
        assert row.meaning
