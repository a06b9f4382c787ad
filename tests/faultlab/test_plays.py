"""Every play does on the wire what it says."""

from __future__ import annotations

import json
import ssl
import time
from typing import Any

import pytest

from taskqueue.core.answer import class_of_status
from taskqueue.core.outcome import CLASSES
from tests.faultlab.running import RunningLab
from tests.faultlab.wire import PATIENCE, Heard, answer, answer_on, ask, connected, handshake, listen, request

SHORT = 0.4
ANSWERS = [
    *("success", "redirect", "bad_request", "unauthorized", "not_found", "gone", "too_large", "request_timeout"),
    *("conflict", "too_early", "throttled", "aborted", "server_error", "bad_gateway", "unavailable", "gateway_timeout"),
]


def play(lab: RunningLab, name: str, **over: Any) -> Heard:
    return ask(f"{lab.url}/class/{name}", **over)


def test_every_class_is_played_or_the_lab_says_how_to_see_it(lab: RunningLab) -> None:
    by_request = {each["class"] for each in lab.index["plays"].values()}
    by_address = {name for name in lab.index["addresses"] if name in CLASSES}
    assert by_request | by_address | lab.index["unplayed"].keys() == CLASSES.keys()
    assert not (by_request | by_address) & lab.index["unplayed"].keys()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_a_status_of_its_class_and_leaves_the_connection_open(lab: RunningLab, name: str) -> None:
    heard = answer(f"{lab.url}/class/{name}")
    assert class_of_status(heard.status).name == name
    assert heard.end == "open"


@pytest.mark.parametrize("status", [200, 204, 304, 418, 429, 489, 503, 599])
def test_any_status_can_be_had(lab: RunningLab, status: int) -> None:
    heard = answer(f"{lab.url}/status/{status}")
    assert heard.status == status
    assert (b"Content-Length" in heard.data) == (status not in (204, 304))


@pytest.mark.parametrize("word", ["retry", "fail", "defer"])
def test_a_target_that_lies_answers_200_with_the_truth_inside(lab: RunningLab, word: str) -> None:
    heard = answer(f"{lab.url}/class/verdict_{word}")
    assert heard.status == 200
    assert json.loads(heard.data.partition(b"\r\n\r\n")[2]) == {"status": word}


@pytest.mark.parametrize(
    ("name", "data", "end"),
    [
        ("no_response", b"", "reset"),
        ("hang_up", b"", "closed"),
        ("cut_head", b"HTTP/1.1 200 OK\r\nContent-Ty", "closed"),
        ("timeout", b"", "open"),
        ("worker_lost", b"", "open"),
        ("interrupted", b"", "open"),
        ("cancelled", b"", "open"),
        ("protocol_error", b"220 mail.example ESMTP\r\n", "closed"),
        ("interim_only", b"HTTP/1.1 102 Processing\r\n\r\n", "closed"),
        ("odd_status", b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "closed"),
    ],
)
def test_what_is_no_answer_ends_as_it_says(lab: RunningLab, name: str, data: bytes, end: str) -> None:
    assert play(lab, name, seconds=SHORT if end == "open" else PATIENCE) == Heard(data, end)


@pytest.mark.parametrize("name", ["truncated_response", "cut_chunks"])
def test_a_cut_body_is_shorter_than_it_was_announced(lab: RunningLab, name: str) -> None:
    heard = play(lab, name)
    assert heard.status == 200
    assert heard.data.endswith(b"half")
    assert heard.end == "closed"


@pytest.mark.parametrize("name", ["drip_head", "drip_body"])
def test_a_drip_goes_on_byte_by_byte(lab: RunningLab, name: str) -> None:
    began = time.monotonic()
    with connected(lab.url) as connection:
        connection.sendall(request(f"{lab.url}/class/{name}"))
        while not (heard := listen(connection, seconds=PATIENCE, enough=1)).data.endswith(b"."):
            assert heard.end == "open"
        assert [listen(connection, seconds=PATIENCE, enough=1) for _ in range(3)] == [Heard(b".", "open")] * 3
    assert time.monotonic() - began > 0.5


@pytest.mark.parametrize("name", ["endless_head", "endless_interim", "endless_body"])
def test_what_is_endless_goes_on_for_as_long_as_somebody_reads(lab: RunningLab, name: str) -> None:
    heard = ask(f"{lab.url}/class/{name}", enough=3_000_000)
    assert len(heard.data) >= 3_000_000
    assert heard.end == "open"


def test_a_body_is_still_being_sent_when_the_narrow_port_resets(lab: RunningLab) -> None:
    url = lab.index["addresses"]["send_aborted"]
    with connected(url) as connection, pytest.raises(ConnectionError):
        connection.sendall(request(url, b"x" * 200_000))  # returns only once the system has taken all of it


def test_the_closed_port_refuses_and_the_full_one_never_answers(lab: RunningLab) -> None:
    with pytest.raises(ConnectionRefusedError), connected(lab.index["addresses"]["connect_refused"]):
        pass
    with pytest.raises(TimeoutError), connected(lab.index["addresses"]["connect_timeout"], seconds=SHORT):
        pass


def test_no_certificate_is_one_to_trust(lab: RunningLab) -> None:
    for name in ("tls_certificate", "tls_certificate_expired", "tls_certificate_for_another_name"):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(lab.index["addresses"][name])


def test_who_trusts_the_labs_authority_refuses_a_certificate_for_what_is_wrong_with_it(lab: RunningLab) -> None:
    addresses, authority = lab.index["addresses"], lab.index["authority"]
    handshake(addresses["tls_certificate"], authority=authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(addresses["tls_certificate_expired"], authority=authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(addresses["tls_certificate_for_another_name"], authority=authority)


def test_who_answers_a_handshake_in_plain_http_ends_it(lab: RunningLab) -> None:
    with pytest.raises(ssl.SSLError) as refused:
        handshake(lab.index["addresses"]["tls_handshake"])
    assert not isinstance(refused.value, ssl.SSLCertVerificationError)


def test_a_silent_port_leaves_a_handshake_waiting(lab: RunningLab) -> None:
    with pytest.raises(TimeoutError):
        handshake(lab.index["addresses"]["tls_timeout"], seconds=SHORT)


@pytest.mark.parametrize(
    "name", ["function_error", "function_timeout", "function_handled_error", "function_bad_result"]
)
def test_a_function_that_failed_is_a_200_with_a_header(lab: RunningLab, name: str) -> None:
    heard = answer(f"{lab.url}/class/{name}")
    assert heard.status == 200
    assert b"X-Amz-Function-Error: " in heard.data
    assert "errorMessage" in json.loads(heard.data.partition(b"\r\n\r\n")[2])


def test_a_connection_carries_one_request_after_another(lab: RunningLab) -> None:
    with connected(lab.url) as connection:
        for status in (500, 200, 429):
            assert answer_on(connection, f"{lab.url}/status/{status}").status == status


def test_a_play_waits_first_if_asked_to(lab: RunningLab) -> None:
    began = time.monotonic()
    assert answer(f"{lab.url}/class/success?after=0.3").status == 200
    assert time.monotonic() - began >= 0.3
