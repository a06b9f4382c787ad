"""AWS keys: found as Amazon's own tools find them, once for everybody who asks, and renewed."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from taskqueue.core.errors import InvalidTask
from taskqueue.core.lambda_endpoint import LambdaEndpoint
from taskqueue.core.lambda_function import LambdaFunction
from taskqueue.delivery.lambda_keys import KeyRing, Keys, NotConfigured, aws_keys
from taskqueue.delivery.lambda_submit import check_lambda

FOREVER = timedelta(days=1)


class Source:
    """Gives out numbered keys, or fails while told to; remembers on which threads."""

    def __init__(self) -> None:
        self.asked = 0
        self.failing = False
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> Keys:
        self.asked += 1
        self.threads.add(threading.current_thread())
        self.gate.wait(20)
        if self.failing:
            raise NotConfigured("no keys today")
        return Keys(f"key-{self.asked}", "secret")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no credentials are to be found; the directory stands for home."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def test_many_who_ask_share_one_lookup_on_a_thread_of_its_own(runner: asyncio.Runner) -> None:
    source = Source()
    source.gate.clear()
    ring = KeyRing(source, fresh_for=FOREVER)

    async def ask() -> list[Keys]:
        asking = [asyncio.create_task(ring.keys()) for _ in range(20)]
        await asyncio.sleep(0.02)
        source.gate.set()
        return await asyncio.gather(*asking)

    assert {keys.access_key for keys in runner.run(ask())} == {"key-1"}
    assert runner.run(ring.keys()).access_key == "key-1"
    assert source.asked == 1
    assert threading.main_thread() not in source.threads


def test_keys_are_looked_up_again_once_they_are_old(runner: asyncio.Runner) -> None:
    ring = KeyRing(Source(), fresh_for=timedelta(0))
    assert [runner.run(ring.keys()).access_key for _ in range(3)] == ["key-1", "key-2", "key-3"]


def test_a_failure_serves_for_a_moment_and_is_then_tried_again(runner: asyncio.Runner) -> None:
    source = Source()
    source.failing = True
    patient = KeyRing(source, failed_for=FOREVER)
    for _ in range(3):
        with pytest.raises(NotConfigured, match="no keys today"):
            runner.run(patient.keys())
    assert source.asked == 1
    eager = KeyRing(source, failed_for=timedelta(0))
    with pytest.raises(NotConfigured):
        runner.run(eager.keys())
    source.failing = False
    assert runner.run(eager.keys()).access_key == "key-3"


def test_one_who_leaves_does_not_disturb_the_others(runner: asyncio.Runner) -> None:
    source = Source()
    source.gate.clear()
    ring = KeyRing(source, fresh_for=FOREVER)

    async def ask() -> Keys:
        leaving, staying = asyncio.create_task(ring.keys()), asyncio.create_task(ring.keys())
        await asyncio.sleep(0.02)
        leaving.cancel()
        await asyncio.sleep(0.02)
        source.gate.set()
        return await staying

    assert runner.run(ask()).access_key == "key-1"


def test_the_environment_gives_keys(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert aws_keys()() == Keys("AKIA", "secret", "token")


def test_a_profile_gives_keys(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "credentials").write_text("[orders]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_PROFILE", "orders")
    assert aws_keys()() == Keys("AKIA", "secret")


def test_no_keys_at_all_is_a_sentence(nowhere: Path) -> None:
    with pytest.raises(NotConfigured, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"):
        aws_keys()()


def test_a_profile_that_does_not_exist_is_a_sentence_without_its_name(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "hidden")
    with pytest.raises(NotConfigured, match="ProfileNotFound") as refused:
        aws_keys()()
    assert "hidden" not in str(refused.value)
    assert "hidden" in str(refused.value.__cause__)


ORDERS = LambdaFunction.parse("orders", "")
ABROAD = LambdaFunction.parse("arn:aws:lambda:us-east-1:123456789012:function:orders", "")
IRELAND = LambdaEndpoint.parse("eu-west-1")


def test_a_task_that_can_be_invoked_is_accepted() -> None:
    check_lambda(ORDERS, IRELAND, method="POST", headers=(), body=b"{}")


@pytest.mark.parametrize(
    ("function", "endpoint", "sentence"),
    [
        (ORDERS, None, "/targetUrl: lambda:// targets need a region: set TASKQUEUE_LAMBDA_REGION"),
        (ABROAD, IRELAND, "/targetUrl: the function is in us-east-1, but this service invokes in eu-west-1"),
    ],
)
def test_a_task_that_cannot_be_invoked_here_is_refused(
    function: LambdaFunction, endpoint: LambdaEndpoint | None, sentence: str
) -> None:
    with pytest.raises(InvalidTask, match=sentence):
        check_lambda(function, endpoint, method="POST", headers=(), body=None)


def test_a_task_that_invoke_could_not_carry_is_refused() -> None:
    with pytest.raises(InvalidTask, match="/method"):
        check_lambda(ORDERS, IRELAND, method="GET", headers=(), body=None)
