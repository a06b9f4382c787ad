"""Names to addresses: once at a time for each name, and never in the way of other names."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address

import pytest

from taskqueue.core.target import Address
from taskqueue.delivery.failure import AttemptFailed
from taskqueue.delivery.resolver import Lookup, Resolver, system_lookup
from tests.delivery.conftest import Courier

ADDRESS = ip_address("192.0.2.7")


class Directory:
    """A lookup that answers when told, and remembers who asked, and for what."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.gate = threading.Event()

    def __call__(self, host: str) -> list[Address]:
        self.threads.add(threading.current_thread())
        self.asked.append(host)
        if host.startswith("slow"):
            self.gate.wait(60)
        return [ADDRESS, ADDRESS]


def test_many_who_ask_for_one_name_share_one_lookup(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory)

    async def ask() -> list[tuple[Address, ...]]:
        asking = [asyncio.create_task(resolver.resolve("slow.example")) for _ in range(50)]
        await asyncio.sleep(0.02)
        directory.gate.set()
        return await asyncio.gather(*asking)

    assert runner.run(ask()) == [(ADDRESS,)] * 50
    assert directory.asked == ["slow.example"]
    resolver.close()


def test_one_who_leaves_does_not_disturb_the_others(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory)

    async def ask() -> tuple[Address, ...]:
        leaving = asyncio.create_task(resolver.resolve("slow.example"))
        staying = asyncio.create_task(resolver.resolve("slow.example"))
        await asyncio.sleep(0.02)
        leaving.cancel()
        directory.gate.set()
        return await staying

    assert runner.run(ask()) == (ADDRESS,)
    resolver.close()


def test_a_slow_name_does_not_hold_up_another(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory, threads=3)

    async def ask() -> tuple[Address, ...]:
        slow = [asyncio.create_task(resolver.resolve(f"slow{number}.example")) for number in range(2)]
        await asyncio.sleep(0.02)
        answer = await asyncio.wait_for(resolver.resolve("quick.example"), 20)
        directory.gate.set()
        await asyncio.gather(*slow)
        return answer

    assert runner.run(ask()) == (ADDRESS,)
    resolver.close()


def test_a_healthy_name_behind_many_slow_ones_is_answered_at_once(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory)

    async def ask() -> tuple[Address, ...]:
        slow = [asyncio.create_task(resolver.resolve(f"slow{number}.example")) for number in range(40)]
        await asyncio.sleep(0.02)
        answer = await asyncio.wait_for(resolver.resolve("healthy.example"), 20)
        directory.gate.set()
        await asyncio.gather(*slow)
        return answer

    assert runner.run(ask()) == (ADDRESS,)
    resolver.close()


def test_what_nobody_waits_for_any_more_is_not_looked_up(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory, threads=1, max_under_way=3)

    async def ask() -> tuple[Address, ...]:
        slow = asyncio.create_task(resolver.resolve("slow.example"))
        for _ in range(2):
            asking = [asyncio.create_task(resolver.resolve(f"slow{number}.example")) for number in range(2)]
            await asyncio.sleep(0.02)
            for each in asking:
                each.cancel()
            await asyncio.wait(asking)
        again = asyncio.create_task(resolver.resolve("slow1.example"))
        await asyncio.sleep(0.02)
        directory.gate.set()
        await slow
        return await again

    assert runner.run(ask()) == (ADDRESS,)
    assert directory.asked == ["slow.example", "slow1.example"]
    resolver.close()


def test_lookups_under_way_are_bounded(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory, threads=1, max_under_way=3)

    async def ask() -> None:
        asking = [asyncio.create_task(resolver.resolve(f"slow{number}.example")) for number in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(AttemptFailed) as refused:
            await resolver.resolve("one-more.example")
        assert refused.value.cls == "local_resource"
        directory.gate.set()
        await asyncio.gather(*asking)

    runner.run(ask())
    assert len(directory.asked) == 3
    assert len(directory.threads) == 1
    resolver.close()


def test_an_answer_serves_for_a_moment_only(runner: asyncio.Runner) -> None:
    directory = Directory()
    resolver = Resolver(directory, fresh_for=timedelta(seconds=0.1))

    async def ask() -> None:
        await resolver.resolve("a.example")
        async with asyncio.timeout(20):
            while resolver.known("a.example") is not None:
                await asyncio.sleep(0.01)
        await resolver.resolve("b.example")

    runner.run(ask())
    assert directory.asked == ["a.example", "b.example"]
    resolver.close()


def test_a_fresh_answer_is_that_of_its_own_name(runner: asyncio.Runner) -> None:
    resolver = Resolver(Directory(), fresh_for=timedelta(hours=1))

    async def ask() -> None:
        await resolver.resolve("a.example")
        assert resolver.known("a.example") == (ADDRESS,)
        assert resolver.known("b.example") is None

    runner.run(ask())
    resolver.close()


def failing(error: Exception) -> Lookup:
    def lookup(host: str) -> list[Address]:
        raise error

    return lookup


@pytest.mark.parametrize(
    ("lookup", "cls"),
    [
        (failing(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "dns_not_found"),
        (failing(socket.gaierror(socket.EAI_NODATA, "No address")), "dns_not_found"),
        (lambda host: [], "dns_not_found"),
        (failing(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")), "dns_failure"),
        (failing(socket.gaierror(socket.EAI_FAIL, "Failure")), "dns_failure"),
        (failing(socket.gaierror(socket.EAI_MEMORY, "Memory")), "local_resource"),
        (failing(OSError(errno.EMFILE, "Too many open files")), "local_resource"),
        (failing(OSError(errno.EIO, "I/O error")), "dns_failure"),
        (failing(ZeroDivisionError("surprise")), "local_resource"),
    ],
)
def test_each_way_a_lookup_fails(courier_with: Callable[..., Courier], lookup: Lookup, cls: str) -> None:
    courier = courier_with(resolver=Resolver(lookup))
    for _ in range(2):
        outcome = courier.deliver("http://some.example/")
        assert outcome.cls.name == cls
        assert outcome.bytes_sent == 0
        assert "surprise" not in str(outcome.error_message)


def test_the_system_knows_localhost() -> None:
    assert ip_address("127.0.0.1") in system_lookup("localhost")


def test_a_hanging_lookup_does_not_outlive_its_loop() -> None:
    directory = Directory()
    resolver = Resolver(directory)

    async def ask_and_leave() -> None:
        asking = asyncio.create_task(resolver.resolve("slow.example"))
        async with asyncio.timeout(20):
            while not directory.asked:
                await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with asyncio.Runner() as runner:
        runner.run(ask_and_leave())
    (thread,) = directory.threads
    assert thread.is_alive()
    directory.gate.set()
    thread.join(20)
    assert not thread.is_alive()
