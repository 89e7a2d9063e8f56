"""Replicas that refuse, vanish and die, and callers that leave."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest

from asynccache._errors import (
    UpstreamAuth,
    UpstreamBusy,
    UpstreamError,
    UpstreamServerError,
    UpstreamStreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from asynccache._models import Request
from asynccache._stream import Stream
from asynccache.upstreams._replay import each
from asynccache.upstreams._vllm_replicas import harm, never_taken, wait_for_next
from asynccache.upstreams._vllm_stream import WatchedFrames
from asynccache.upstreams._vllm_usage import Usage
from asynccache.upstreams.vllm import VLLMUpstream
from tests.upstreams._fake_vllm import chat, fake_servers, in_flight, opened, settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.upstreams._fake_vllm import FakeVLLM

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("mode", ["fetch", "stream"])


async def ask(upstream: VLLMUpstream, mode: str, body: dict[str, Any] | None = None) -> None:
    request = Request(body=body or chat())
    if mode == "fetch":
        await upstream.fetch(request)
    else:
        async for _ in await upstream.stream(request):
            pass


async def home_first(upstream: VLLMUpstream, servers: Sequence[FakeVLLM]) -> list[FakeVLLM]:
    """The servers, the one that ``chat()`` goes to first."""
    await upstream.fetch(Request(body=chat()))
    (home,) = (server for server in servers if server.bodies)
    home.bodies.clear()
    return [home, *(server for server in servers if server is not home)]


@BOTH
async def test_busy_replica_sends_its_request_to_another_at_once(mode: str) -> None:
    async with fake_servers(3) as servers, opened(servers) as (upstream, waits):
        home, *others = await home_first(upstream, servers)
        home.busy = 1
        home.retry_after = "30"
        await ask(upstream, mode)
        assert waits == []
        assert sum(len(server.bodies) for server in others) == 1
        assert upstream._router.ejected(now=upstream._replicas._now()) == (home.base_url,)
        await ask(upstream, mode)
        assert len(home.bodies) == 1  # left alone for a while
        assert in_flight(upstream) == 0


@BOTH
async def test_all_busy_are_asked_again_after_a_wait_and_given_up_at_last(mode: str) -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=4) as (upstream, waits):
        for server in servers:
            server.busy = 100
        with pytest.raises(UpstreamBusy):
            await ask(upstream, mode)
        assert sorted(len(server.bodies) for server in servers) == [2, 3]
        assert waits == [0.5, 1.0]
        assert in_flight(upstream) == 0


async def test_busy_replica_is_not_asked_before_it_said() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, waits):
        servers[0].busy = 1
        servers[0].retry_after = "7"
        await ask(upstream, "fetch")
        assert waits == [7.5]


async def test_replicas_that_ask_for_too_long_a_wait_are_given_up_once_all_have_said_so() -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=9) as (upstream, waits):
        for server in servers:
            server.busy = 100
            server.retry_after = "3600"
        with pytest.raises(UpstreamBusy) as caught:
            await ask(upstream, "fetch")
        assert caught.value.retry_after == 3600
        assert [len(server.bodies) for server in servers] == [1, 1]
        assert waits == []


async def test_after_the_wait_only_who_is_free_by_then_is_asked() -> None:
    async with fake_servers(2) as servers, opened(servers) as (upstream, waits):
        home, other = await home_first(upstream, servers)
        home.busy = other.busy = 1
        home.retry_after, other.retry_after = "30", "1"
        await ask(upstream, "fetch")
        assert (len(home.bodies), len(other.bodies)) == (1, 2)
        assert waits == [1.5]


@BOTH
async def test_replica_that_answers_again_is_in_service_again(mode: str) -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        now = upstream._replicas._now()
        upstream._replicas._now = lambda: now
        servers[0].busy = 1
        await ask(upstream, mode)
        assert len(servers[0].bodies) == 2
        assert upstream._router.ejected(now=now) == ()


async def test_no_retry_means_none() -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=0) as (upstream, _):
        for server in servers:
            server.busy = 1
        with pytest.raises(UpstreamBusy):
            await ask(upstream, "fetch")
        assert sum(len(server.bodies) for server in servers) == 1


@BOTH
async def test_unreachable_replica_is_passed_over(mode: str) -> None:
    async with fake_servers(2) as servers, opened(servers) as (upstream, waits):
        home, other = await home_first(upstream, servers)
        await home.stop()
        await settled(lambda: not home.raw.open)
        for _ in range(3):
            # The first may find its kept connection closed under it, and then must not be sent twice.
            with suppress(UpstreamUnreachable):
                await ask(upstream, mode)
        assert len(other.bodies) >= 2
        assert waits == []
        assert in_flight(upstream) == 0


async def test_busy_replica_is_a_better_hope_than_an_unreachable_one() -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=3) as (upstream, waits):
        gone, busy = servers
        await gone.stop()
        busy.busy = 2
        await ask(upstream, "fetch")
        assert len(busy.bodies) == 3
        assert waits == [0.5, 1.0]


async def test_when_none_can_be_reached_all_are_tried_again() -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=3) as (upstream, waits):
        for server in servers:
            await server.stop()
        with pytest.raises(UpstreamUnreachable):
            await ask(upstream, "fetch")
        assert waits == [0.5]
        assert in_flight(upstream) == 0


@BOTH
async def test_request_that_may_have_been_processed_is_not_sent_again(mode: str) -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=9) as (upstream, _):
        for server in servers:
            server.breaks_off = True
        with pytest.raises(UpstreamUnreachable):
            await ask(upstream, mode)
        assert sum(len(server.bodies) for server in servers) == 1
        assert len(upstream._router.ejected(now=upstream._replicas._now())) == 1
        assert in_flight(upstream) == 0


@BOTH
async def test_failure_of_the_server_itself_is_not_repeated(mode: str) -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=9) as (upstream, _):
        for server in servers:
            server.refuses = (500, b'{"error":{"message":"bug","type":"InternalServerError","code":500}}')
        with pytest.raises(UpstreamServerError):
            await ask(upstream, mode)
        assert sum(len(server.bodies) for server in servers) == 1
        assert in_flight(upstream) == 0


async def test_answer_that_takes_too_long_is_not_asked_for_elsewhere() -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=9, timeout=0.1) as (upstream, _):
        for server in servers:
            server.gate.clear()
        with pytest.raises(UpstreamTimeout):
            await ask(upstream, "fetch")
        assert sum(len(server.bodies) for server in servers) == 1
        assert in_flight(upstream) == 0


async def test_death_in_midstream_reaches_the_caller_and_ejects_the_replica() -> None:
    async with fake_servers(2) as servers, opened(servers, max_retries=9) as (upstream, _):
        home, other = await home_first(upstream, servers)
        home.dies_in_midstream = True
        stream = await upstream.stream(Request(body=chat()))
        assert b"one" in await anext(stream)
        with pytest.raises(UpstreamStreamError):
            await anext(stream)
        assert in_flight(upstream) == 0
        assert (len(home.bodies), len(other.bodies)) == (1, 0)
        await ask(upstream, "stream")
        assert (len(home.bodies), len(other.bodies)) == (1, 1)


async def test_stream_that_its_reader_leaves_is_over() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        stream = await upstream.stream(Request(body=chat()))
        await anext(stream)
        assert in_flight(upstream) == 1
        await stream.aclose()
        await stream.aclose()
        assert in_flight(upstream) == 0
        assert upstream._router.ejected(now=upstream._replicas._now()) == ()
        total = upstream.report().total
        assert (total.requests, total.unknown) == (1, 1)


async def test_stream_that_is_not_read_at_all_is_over_once_closed() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        stream = await upstream.stream(Request(body=chat()))
        await stream.aclose()
        assert in_flight(upstream) == 0
        await servers[0].raw.all_closed()


async def test_stream_whose_closing_fails_is_over_all_the_same() -> None:
    async def close() -> None:
        raise ConnectionResetError

    closed: list[Usage] = []
    frames = WatchedFrames(Stream(each([]), aclose=close), on_end=print, on_close=closed.append)
    with pytest.raises(ConnectionResetError):
        await frames.aclose()
    assert closed == [Usage()]


@pytest.mark.parametrize("mode", ["fetch", "stream", "reading"])
async def test_cancelled_caller_leaves_nothing_in_flight(mode: str) -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        server = servers[0]
        (server.midway if mode == "reading" else server.gate).clear()
        started = anyio.Event()

        async def call() -> None:
            if mode == "reading":
                stream = await upstream.stream(Request(body=chat()))
                await anext(stream)
                started.set()
                async for _ in stream:
                    pass
            else:
                await ask(upstream, mode)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            with anyio.fail_after(10):
                await server.begun.acquire()
                if mode == "reading":
                    await started.wait()
            assert in_flight(upstream) == 1
            group.cancel_scope.cancel()
        assert in_flight(upstream) == 0
        assert upstream._router.ejected(now=upstream._replicas._now()) == ()
        server.gate.set()
        server.midway.set()
        await server.raw.all_closed()


async def test_caller_cancelled_between_two_tries_leaves_nothing_in_flight() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].busy = 100
        waiting = anyio.Event()

        async def sleep(_: float) -> None:
            waiting.set()
            await anyio.sleep_forever()

        upstream._replicas._sleep = sleep
        async with anyio.create_task_group() as group:
            group.start_soon(ask, upstream, "fetch")
            await waiting.wait()
            group.cancel_scope.cancel()
        assert in_flight(upstream) == 0


async def test_nothing_stays_in_flight_after_much_has_gone_wrong() -> None:
    chance = random.Random(7)
    async with fake_servers(3) as servers, opened(servers, max_retries=3) as (upstream, _):

        async def caller(number: int) -> None:
            mode = chance.choice(["fetch", "stream"])
            with anyio.move_on_after(chance.choice([0.001, 0.01, 5])), suppress(UpstreamError):
                await ask(upstream, mode, chat(f"tenant {number % 7}", f"question {number}"))

        for _ in range(10):
            for server in servers:
                server.busy = chance.choice([0, 0, 2])
                server.dies_in_midstream = chance.random() < 0.3
                server.breaks_off = chance.random() < 0.2
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(caller, number)
        assert in_flight(upstream) == 0
        assert set(upstream._router.in_flight.values()) == {0}
        for server in servers:
            server.busy, server.dies_in_midstream, server.breaks_off = 0, False, False
        await ask(upstream, "fetch")


def caused(error: UpstreamError, cause: Exception) -> UpstreamError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UpstreamBusy("", status=503), "busy"),
        (UpstreamServerError("", status=502), "busy"),
        (UpstreamServerError("", status=500), None),
        (UpstreamUnreachable(""), "gone"),
        (UpstreamStreamError("", status=500), "gone"),
        (UpstreamStreamError(""), "gone"),
        (UpstreamStreamError("", status=400), None),
        (caused(UpstreamTimeout(""), httpx2.ReadTimeout("")), "gone"),
        (UpstreamTimeout("all connections were busy"), None),
        (UpstreamAuth("", status=401), None),
    ],
)
async def test_failure_says_what_it_says_of_its_replica(error: UpstreamError, said: str | None) -> None:
    assert harm(error) == said


async def test_busy_request_is_free_to_go_elsewhere_however_long_it_was_told_to_wait() -> None:
    assert never_taken(UpstreamBusy("", retry_after=3600.0))
    assert never_taken(caused(UpstreamTimeout(""), httpx2.ConnectTimeout("")))
    assert not never_taken(caused(UpstreamTimeout(""), httpx2.ReadTimeout("")))
    assert not never_taken(UpstreamServerError("", status=500))


async def test_wait_is_that_of_the_replica_that_is_free_first() -> None:
    assert wait_for_next({"a": 9.0, "b": 4.0}, rounds=0, random=0.0) == 4.0
    assert wait_for_next({"a": 9.0, "b": None}, rounds=1, random=1.0) == 1.0
    assert wait_for_next({"a": 3600.0, "b": 4.0}, rounds=0, random=0.0) == 4.0
    assert wait_for_next({"a": 3600.0}, rounds=0, random=0.0) is None
