"""A request object is read strictly, and everything that is wrong with it is told at once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.web import scan
from taskqueue.web.models import FindTasks, Redrive, SubmitTask
from taskqueue.web.problems import Faults, Problem
from taskqueue.web.reading import read, read_query

TARGET = {"targetUrl": "https://target.example/work"}


def faults_of(**fields: Any) -> dict[str, str]:
    """What is wrong with a submit of these fields, by pointer."""
    return faults_in(json.dumps({**TARGET, **fields}).encode())


def faults_in(text: bytes) -> dict[str, str]:
    faults = Faults()
    scan.check(text)
    read(text, SubmitTask, faults)
    try:
        faults.raise_any()
    except Problem as problem:
        return {fault["pointer"]: fault["detail"] for fault in problem.errors}
    return {}


def asked(**fields: Any) -> SubmitTask:
    faults = Faults()
    model = read(json.dumps({**TARGET, **fields}).encode(), SubmitTask, faults)
    faults.raise_any()
    assert model is not None
    return model


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retries", True),
        ("retries", "3"),
        ("retries", 3.0),
        ("retries", None),
        ("retries", -1),
        ("retries", 101),
        ("timeout", True),
        ("timeout", 0),
        ("timeout", 0.09),
        ("timeout", 43_200.1),
        ("timeout", "12h1s"),
        ("timeout", "soon"),
        ("timeout", -1),
        ("timeout", [1]),
        ("delay", "367d"),
        ("expiresIn", 0),
        ("runAt", "2030-01-01"),
        ("runAt", "2030-01-01T00:00:00"),
        ("runAt", 1_893_456_000),
        ("method", "post"),
        ("method", "HEAD"),
        ("queue", ""),
        ("queue", "-mail"),
        ("queue", "$webhooks"),
        ("queue", "a" * 65),
        ("queue", "mail\n"),
        ("queue", "m\u0000"),
        ("orderingKey", ""),
        ("orderingKey", "a" * 257),
        ("orderingKey", "a\u0000b"),
        ("orderingKey", "line\n"),
        ("labels", "mail"),
        ("labels", ["l"] * 17),
        ("idempotencyKey", ""),
        ("idempotencyKey", "k" * 257),
        ("idempotencyKey", "with space"),
        ("idempotencyKey", "umläut"),
        ("idempotencyTtl", "31d"),
        ("idempotencyTtl", 0.5),
        ("contentType", "json"),
        ("contentType", "text/plain\r\nX: y"),
        ("headers", []),
        ("webhookEvents", []),
        ("body", 3),
        ("backoff", "fast"),
        ("targetUrl", ""),
        ("targetUrl", 3),
        ("targetUrl", "https://target.example/" + "a" * 2048),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_refused_at_its_field(field: str, value: Any) -> None:
    assert list(faults_of(**{field: value})) == [f"/{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retries", 0),
        ("retries", 100),
        ("timeout", 0.1),
        ("timeout", "12h"),
        ("delay", 0),
        ("delay", "366d"),
        ("runAt", "2030-01-01T00:00:00+05:30"),
        ("queue", "A.b-c_9"),
        ("orderingKey", "käse " * 50),
        ("labels", ["l" * 100] * 16),
        ("idempotencyKey", "~" * 256),
        ("contentType", "text/csv; charset=utf-8"),
        ("headers", {"X-A": "b"}),
        ("backoff", {"type": "schedule", "schedule": [1, "5m"], "jitter": "none"}),
    ],
)
def test_the_bounds_themselves_are_accepted(field: str, value: Any) -> None:
    assert faults_of(**{field: value}) == {}


def test_faults_below_a_field_name_their_place() -> None:
    found = faults_of(
        labels=["fine", "", 3],
        headers={"X-A": 1},
        backoff={"initial": "x", "schedule": [1, -1], "colour": 1},
        webhookEvents=["dead", "born"],
    )
    assert found.keys() == {
        "/labels/1",
        "/labels/2",
        "/headers/X-A",
        "/backoff/initial",
        "/backoff/schedule/1",
        "/backoff/colour",
        "/webhookEvents/1",
    }


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("retires", "retries"), ("target_url", "targetUrl"), ("webhookURL", "webhookUrl"), ("time_out", "timeout")],
)
def test_a_typo_is_refused_with_the_name_that_was_meant(typo: str, meant: str) -> None:
    assert faults_of(**{typo: 3})[f"/{typo}"] == f"unknown field; did you mean {meant}?"


def test_of_a_field_that_is_like_nothing_the_message_tells_what_there_is() -> None:
    assert faults_of(zebra=3)["/zebra"].startswith("unknown field; there are: targetUrl, payload, body,")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("retries", 101, "expected an integer from 0 to 100"),
        ("retries", "3", "expected an integer from 0 to 100, got a text"),
        ("retries", 3.0, "expected an integer from 0 to 100, got a decimal number"),
        ("retries", True, "expected an integer from 0 to 100, got true or false"),
        ("retries", None, "expected an integer from 0 to 100, got null"),
        ("timeout", 0, "expected a span from 100ms to 12h (0.1 to 43200 seconds)"),
        ("timeout", [], 'expected a number of seconds or a duration such as "1m30s", got an array'),
        ("delay", "367d", "expected a span from 0s to 366d (0 to 31622400 seconds)"),
        ("method", "FETCH", "expected one of: POST, PUT, PATCH, DELETE, GET"),
        ("method", 3, "expected one of: POST, PUT, PATCH, DELETE, GET, got an integer"),
        ("targetUrl", "", "expected a text of 1 to 2048 characters"),
        ("runAt", "tomorrow", "expected an RFC 3339 time with its offset, such as 2030-01-31T08:00:00Z"),
        ("runAt", 7, "expected an RFC 3339 time with its offset, such as 2030-01-31T08:00:00Z, got an integer"),
        ("body", {}, "expected a text, got an object"),
        ("labels", ["l"] * 17, "expected 0 to 16 items, got 17"),
    ],
)
def test_a_message_says_what_would_be_accepted(field: str, value: Any, message: str) -> None:
    assert faults_of(**{field: value}) == {f"/{field}": message}


def test_a_long_unknown_name_is_not_repeated_whole() -> None:
    ((pointer, _),) = faults_of(**{"k" * 5000: 1}).items()
    assert len(pointer) < 60


@pytest.mark.parametrize("field", sorted(SubmitTask.NOT_BUILT))
def test_a_field_that_is_not_built_yet_is_refused_by_name(field: str) -> None:
    assert faults_of(**{field: 5}) == {f"/{field}": f"{field} is not built yet; leave it out"}


@pytest.mark.parametrize(
    ("other", "ours", "value"), [("maxRetries", "retries", 7), ("delayUntil", "runAt", "2030-01-01T00:00:00Z")]
)
def test_an_alias_is_the_same_field(other: str, ours: str, value: Any) -> None:
    attribute = {"retries": "retries", "runAt": "run_at"}[ours]
    assert getattr(asked(**{other: value}), attribute) == getattr(asked(**{ours: value}), attribute)
    assert faults_of(**{ours: value, other: value}) == {
        f"/{other}": f"{ours} and {other} are the same field; give one of them"
    }


def test_a_fault_in_an_alias_points_at_the_alias() -> None:
    assert faults_of(maxRetries=101).keys() == {"/maxRetries"}
    assert faults_in(b'{"callbackUrl": 3}').keys() == {"/callbackUrl"}


def test_a_required_field_that_is_missing_is_named() -> None:
    assert faults_of(onFailure={}) == {"/onFailure/task": "this field is required"}


def test_half_of_a_surrogate_pair_is_refused_outside_of_payloads() -> None:
    assert (
        "surrogate" in faults_in(b'{"targetUrl": "https://a.example", "labels": ["x"], "queue": "\\ud800"}')["/queue"]
    )


def test_a_message_never_repeats_the_value() -> None:
    secret = "s3cret" * 20
    for field in ("method", "queue", "runAt", "timeout", "idempotencyKey", "retries", "contentType"):
        assert "s3cret" not in json.dumps(faults_of(**{field: secret + "\n"}))


def test_a_payload_is_kept_as_it_was_sent() -> None:
    text = b'{"payload" :  {"a": 1.0, "a": "\\ud800\\u0000", "b": 1e999}  , "targetUrl": "https://a.example"}'
    faults = Faults()
    model = read(text, SubmitTask, faults)
    assert model is not None
    assert bytes(model.payload) == b'{"a": 1.0, "a": "\\ud800\\u0000", "b": 1e999}'  # type: ignore[arg-type]


def test_a_null_payload_is_a_payload() -> None:
    faults = Faults()
    model = read(b'{"payload": null}', Redrive, faults)
    assert model is not None
    assert bytes(model.payload) == b"null"  # type: ignore[arg-type]


def test_more_faults_than_anybody_reads_are_counted_and_cut() -> None:
    faults = Faults()
    for number in range(5000):
        faults.add(f"/{number}", "wrong")
    with pytest.raises(Problem, match="5000 things") as raised:
        faults.raise_any()
    assert len(raised.value.errors) == 100


class TestQueries:
    """Query strings are read like objects."""

    @staticmethod
    def found(query: str) -> tuple[FindTasks | None, dict[str, str]]:
        faults = Faults()
        model = read_query(query, FindTasks, faults)
        try:
            faults.raise_any()
        except Problem as problem:
            return model, {fault["pointer"]: fault["detail"] for fault in problem.errors}
        return model, {}

    def test_texts_may_look_like_numbers(self) -> None:
        model, faults = self.found("label=123&queue=7&limit=5")
        assert not faults
        assert model is not None
        assert (model.label, model.queue, model.limit) == ("123", "7", 5)

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("limit=0", "/limit"),
            ("limit=201", "/limit"),
            ("limit=ten", "/limit"),
            ("limit=1e1", "/limit"),
            ("limit=05", "/limit"),
            ("limit=5&limit=6", "/limit"),
            ("limit=", "/limit"),
            ("status=done", "/status"),
            ("state=dead", "/state"),
            ("createdAfter=yesterday", "/createdAfter"),
            ("createdAfter=0001-01-01T00:00:00%2B23:59", "/createdAfter"),
            ("createdBefore=9999-12-31T23:59:59-23:59", "/createdBefore"),
            ("label=%00", "/label"),
            ("targetHost=a%0Ab", "/targetHost"),
            ("label=%ff", ""),
            ("&".join(f"a{number}=1" for number in range(60)), ""),
        ],
    )
    def test_a_parameter_that_means_nothing_is_refused(self, query: str, pointer: str) -> None:
        _, faults = self.found(query)
        assert list(faults) == [pointer]

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("outcome=timeot", "there is no such value; did you mean timeout"),
            ("outcome=SERVER_ERROR", "there is no such value; did you mean server_error"),
            ("outcome=zzz", "expected one of: success, dns_not_found,"),
            ("outcome=", "expected one of: success, dns_not_found,"),
            ("status=done", "expected one of: scheduled, queued, running, retrying, succeeded, dead, cancelled"),
            ("kind=all", "expected one of: task, webhook"),
            ("stat=dead", "unknown parameter; did you mean status?"),
            ("zebra=1", "unknown parameter; there are: status, kind, queue,"),
            ("limit=0", "expected an integer from 1 to 200"),
        ],
    )
    def test_a_message_says_what_would_be_found(self, query: str, message: str) -> None:
        _, faults = self.found(query)
        assert [detail.startswith(message) for detail in faults.values()] == [True], faults

    def test_a_span_may_be_either_kind(self) -> None:
        from taskqueue.web.models import Look

        for query in ("wait=2", "wait=2.0", "wait=2s", "wait=2000ms"):
            faults = Faults()
            look = read_query(query, Look, faults)
            assert look is not None
            assert look.wait == timedelta(seconds=2)
