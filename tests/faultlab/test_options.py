"""How a play is asked for: by the path or by the payload, and with what options."""

from __future__ import annotations

import json

import pytest

from taskqueue.faultlab.wire import MAX_BODY, MAX_HEAD
from tests.faultlab.running import RunningLab
from tests.faultlab.wire import PATIENCE, answer, ask, connected, listen


def statuses(lab: RunningLab, path: str, number: int, **headers: str) -> list[int]:
    return [lab.call("POST", path, b"{}", **headers)[0] for _ in range(number)]


def test_a_task_fails_so_often_and_then_succeeds(lab: RunningLab) -> None:
    path = "/class/server_error?times=2"
    assert statuses(lab, path, 4, Taskqueue_Task_Id="a") == [500, 500, 200, 200]
    assert statuses(lab, path, 3, Taskqueue_Task_Id="b") == [500, 500, 200]


def test_without_a_task_the_idempotency_key_counts(lab: RunningLab) -> None:
    assert statuses(lab, "/class/gone?times=1", 2, Idempotency_Key="k") == [410, 200]
    assert statuses(lab, "/class/gone?times=1", 2) == [410, 200]


def test_what_is_forgotten_fails_anew(lab: RunningLab) -> None:
    assert statuses(lab, "/class/gone?times=1", 2) == [410, 200]
    lab.forget()
    assert statuses(lab, "/class/gone?times=1", 1) == [410]


def test_a_payload_chooses_the_play_wherever_it_is_sent(lab: RunningLab) -> None:
    for path in ("/", "/work", "/api/process?play=ignored"):
        body = json.dumps({"play": "unavailable", "status": 529, "retryAfter": 7, "order": 9}).encode()
        status, headers, _ = lab.call("POST", path, body)
        assert (status, headers["Retry-After"]) == (529, "7")


def test_the_path_wins_over_the_payload_and_the_query_over_its_options(lab: RunningLab) -> None:
    body = json.dumps({"play": "gone", "retryAfter": 7}).encode()
    status, headers, _ = lab.call("POST", "/class/throttled?retryAfter=9", body)
    assert (status, headers["Retry-After"]) == (429, "9")


def test_a_payload_that_names_no_play_is_a_success(lab: RunningLab) -> None:
    for body in (b"", b"{}", b"[1]", b"plain", b'{"play": 7}', b"[" * 50_000):
        assert lab.call("POST", "/work", body)[0] == 200


def test_what_no_request_can_play_is_answered_with_the_address_to_call(lab: RunningLab) -> None:
    for name, url in lab.index["addresses"].items():
        if name not in lab.index["plays"]:
            status, _, said = lab.call("POST", f"/class/{name}", b"{}")
            assert (status, json.loads(said)["errorMessage"]) == (
                400,
                f"{name} happens before a request is sent; make {url} the target",
            )


def test_the_list_leads_to_the_port_where_a_play_can_be_had(lab: RunningLab) -> None:
    plays = lab.index["plays"]
    assert plays["send_aborted"]["url"] == lab.index["addresses"]["send_aborted"]
    assert plays["gone"]["url"] == f"{lab.url}/class/gone"
    assert plays["not_found"]["about"] == "answers 404 Not Found"


@pytest.mark.parametrize(
    ("path", "payload"), [("/class/send_aborted", b"x" * 200_000), ("/", b'{"play": "send_aborted"}')]
)
def test_what_needs_a_narrow_port_is_played_nowhere_else(lab: RunningLab, path: str, payload: bytes) -> None:
    status, _, said = lab.call("POST", path, payload)
    assert (status, json.loads(said)["errorMessage"]) == (
        400,
        "send_aborted happens while a request is being sent;"
        f" make {lab.index['addresses']['send_aborted']} the target, with a payload of 128 KiB or more",
    )


def test_a_target_can_steer(lab: RunningLab) -> None:
    _, headers, _ = lab.call("POST", "/class/server_error?control=abort&retryAfter=2&rateLimitReset=30")
    assert headers["Taskqueue-Control"] == "abort"
    assert headers["Retry-After"] == "2"
    assert headers["X-RateLimit-Reset"] == "30"


def test_the_answer_can_be_given(lab: RunningLab) -> None:
    assert lab.call("POST", "/class/success?body=%7B%22state%22%3A7%7D")[2] == b'{"state":7}'


def test_an_option_cannot_smuggle_a_header(lab: RunningLab) -> None:
    _, headers, _ = lab.call("POST", "/class/throttled?retryAfter=5%0D%0ASet-Cookie:%20x")
    assert headers["Retry-After"] == "5 Set-Cookie: x"
    assert headers["Set-Cookie"] is None


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/class/nothing", "there is no play 'nothing'"),
        ("/class/local_resource", "no target can play local_resource; give the worker fewer files"),
        ("/class/gone?time=2", "there is no option 'time'; there are: times, after"),
        ("/class/gone?times=many", "times must be a number from 0 to 1000"),
        ("/class/gone?after=1e9", "after must be a number from 0.0 to 900.0"),
        ("/class/gone?after=nan", "after must be a number from 0.0 to 900.0"),
        ("/class/gone?status=404", "status 404 is of class not_found, not gone"),
        ("/status/1000", "a status is a number from 200 to 599"),
        ("/status/many", "a status is a number from 200 to 599"),
        ("/reconcile?state=perhaps", "state is one of done, not-done, unknown, down"),
    ],
)
def test_what_cannot_be_played_is_answered_with_a_sentence(lab: RunningLab, path: str, sentence: str) -> None:
    status, _, body = lab.call("POST", path, b"{}")
    assert status == 400
    assert json.loads(body)["errorMessage"].startswith(sentence)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (f"X-Long: {'x' * MAX_HEAD}\r\n", b"the head of the request is longer"),
        ("Transfer-Encoding: chunked\r\n", b"the lab reads bodies of a known length"),
    ],
)
def test_a_request_without_bounds_is_refused(lab: RunningLab, head: str, sentence: bytes) -> None:
    heard = ask(f"{lab.url}/class/success", head=head)
    assert heard.status == 400
    assert sentence in heard.data
    assert heard.end != "open"


def test_a_body_too_long_is_refused_before_it_is_read(lab: RunningLab) -> None:
    with connected(lab.url) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())
        heard = listen(connection, seconds=PATIENCE)
    assert (heard.status, heard.end) == (400, "closed")


def test_a_client_that_asks_first_is_told_to_go_on(lab: RunningLab) -> None:
    heard = answer(f"{lab.url}/class/gone", head="Expect: 100-continue\r\n")
    assert heard.data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 410 Gone\r\n")


def test_what_is_no_http_is_told_so(lab: RunningLab) -> None:
    with connected(lab.url) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert b"the request does not begin with" in listen(connection, seconds=PATIENCE).data


def test_many_may_be_kept_waiting_at_once(lab: RunningLab) -> None:
    waiting = [connected(lab.url) for _ in range(100)]
    for each in waiting:
        each.__enter__().sendall(b"POST /class/timeout HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert lab.call("POST", "/class/success")[0] == 200
    for each in waiting:
        each.__exit__(None, None, None)
